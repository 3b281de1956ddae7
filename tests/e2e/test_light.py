"""The daemon loads what its flags need and nothing else."""

import re
import signal
import subprocess
import sys
from pathlib import Path

from daemon_process import READY_DEADLINE_S, Installed, clean_environment

from ndpresponder.lab import wait_until

COMMAND = (sys.executable, "-X", "importtime", "-m", "ndpresponder")
# What some import would bring along: OpenSSL, an HTTP client and a server, e-mail, compression
UNUSED = {"ssl", "_ssl", "_hashlib", "hashlib", "http.server", "http.client", "urllib.request", "email", "wsgiref"}
UNUSED |= {"socketserver", "tempfile", "shutil", "bz2", "lzma", "random", "difflib", "multiprocessing"}
PACKAGES = {"h11", "prometheus_client", "pyroute2", "scapy", "structlog"}
# Modules and rooms of ours, each for one flag, one command or one client that asks
OURS = {
    "api.client", "api.control", "api.explain", "api.metrics", "api.server", "api.targets", "cli.daemon_commands",
    "cli.show", "config.render", "config.toml_file", "config.toml_lines", "diagnose", "gateway.pin", "lab", "linux.bpf",
    "linux.inotify", "linux.wireguard_uapi", "offload.fastpath", "offload.kernel_maps", "offload.kernel_program",
    "offload.map_entries", "offload.refusal", "targets.installed_routes", "targets.sources.bridge",
    "targets.sources.docker", "targets.sources.engine_api", "targets.sources.file", "targets.sources.routes",
    "targets.sources.wireguard",
}  # fmt: skip


def loaded(log: str) -> set[str]:
    """Return the modules that the interpreter says it imported."""
    return set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", log, re.MULTILINE))


def of_ours(modules: set[str]) -> set[str]:
    """Return which of OURS are among the modules, or have a module among them."""
    names = {name.removeprefix("ndpresponder.") for name in modules if name.startswith("ndpresponder.")}
    return {each for each in OURS if any(name == each or name.startswith(f"{each}.") for name in names)}


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules} & PACKAGES


def openssl(pid: int) -> list[str]:
    """Return the libraries of OpenSSL that are mapped into a process."""
    return re.findall(r"lib(?:ssl|crypto)\S*", Path(f"/proc/{pid}/maps").read_text())


def test_the_plain_daemon_loads_what_it_uses(wire, tmp_path):
    control, log = tmp_path / "control", tmp_path / "log"
    argv = (*COMMAND, "-i", "up0", "-n", "2001:db8::/112", "--control", str(control))
    with log.open("w") as stream:
        process = wire.near.popen(*argv, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=stream)
        try:
            wait_until(
                lambda: control.exists() and "event=answering" in log.read_text(), READY_DEADLINE_S, "the daemon"
            )
            assert openssl(process.pid) == []
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
    modules = loaded(log.read_text())
    assert {"asyncio", "ndpresponder.uplink.frames"} <= modules
    assert modules & UNUSED == set()
    assert packages(modules) == {"structlog"}
    assert of_ours(modules) == set()


def test_metrics_bring_no_http_server_and_no_openssl_along(wire):
    with Installed(wire.near, "-i", "up0", "-n", "2001:db8::/112", command=COMMAND) as daemon:
        assert [daemon.get(path)[0] for path in ("/metrics", "/healthz", "/readyz")] == [200, 200, 200]
        assert openssl(daemon.process.pid) == []
        modules = loaded(daemon.log())
    assert "prometheus_client.exposition" in modules
    assert modules & UNUSED == set()
    assert packages(modules) == {"structlog", "prometheus_client", "h11"}
    assert of_ours(modules) == {"api.metrics", "api.server"}
