"""The modules keep to their layers: who may import whom, no state at module level, no file that holds two ideas.

ORDER, THIRD_PARTY and PURE are what a change has to argue with: they are read here, and nowhere else.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ndpresponder"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
LONGEST_FILE = 300
PURE_STDLIB = "bisect collections dataclasses enum functools heapq ipaddress itertools operator struct types typing"

# Each folder may import from itself and from those in a later line; never from another one in its own line.
ORDER = (
    ("__init__", "__main__"),
    ("cli",),
    ("diagnose", "lab"),
    ("daemon",),
    ("api",),
    ("uplink",),
    ("offload", "unsolicited", "gateway", "targets"),
    ("observe",),
    ("policy", "linux"),
    ("config", "wire"),
    ("outcome", "errors"),
)
THIRD_PARTY: Mapping[str, str] = {
    "pyroute2": "linux.netlink.wireguard",
    "structlog": "observe",
    "prometheus_client": "api",
    "h11": "api targets.sources.engine_api",
}
# These import nothing but each other and PURE_STDLIB: no clock, no socket, no file.
PURE = (
    "outcome wire policy unsolicited.announcements unsolicited.groups unsolicited.recent_answers "
    "targets.source targets.scope "
    "offload.counting_program offload.flood_program offload.fanout_members "
    "offload.map_entries"
)
# A person runs them; the daemon must not pay for them
IMPORTED_LAZILY = ("diagnose", "lab", "cli.daemon_commands", "cli.show", "api.client")
MOST_FILES_AT_THE_TOP = 8

MUTABLE_DISPLAYS = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp | ast.GeneratorExp
MUTABLE_CALLS = "list dict set bytearray array defaultdict deque OrderedDict Counter count cycle iter Lock Queue Event"
# A constant table is fine once its annotation lets the type checker refuse every change.
READ_ONLY_TYPES = "Mapping Sequence Collection Set AbstractSet"


def _within(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


def _in(module: str, places: str) -> bool:
    return any(_within(module, place) for place in places.split())


def _level(module: str) -> int:
    folder = module.partition(".")[0] or "__init__"
    levels = [level for level, folders in enumerate(ORDER) if folder in folders]
    assert levels, f"{module} is in no folder of ORDER"
    return levels[0]


def _may_import(module: str, imported: str) -> bool:
    """Tell whether `module`, one of ours, may import `imported`, a module of ours or of another package."""
    top, _, inner = imported.partition(".")
    if top == PACKAGE.name:
        if inner == "":
            return True
        down = _level(inner) > _level(module) or inner.partition(".")[0] == module.partition(".")[0]
        return down and (not _in(module, PURE) or _in(inner, PURE))
    if top in sys.stdlib_module_names:
        return not _in(module, PURE) or top in PURE_STDLIB.split()
    return _in(module, THIRD_PARTY.get(top, ""))


def _imports(node: ast.AST, module: str) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything imported below `node`; `from package import module` counts as that."""
    base = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
    for statement in ast.walk(node):
        if isinstance(statement, ast.Import):
            yield from ((statement.lineno, alias.name) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            source = statement.module or ""
            if statement.level:
                parents = base[: len(base) - statement.level + 1]
                source = ".".join(part for part in (PACKAGE.name, *parents, source) if part)
            for alias in statement.names:
                submodule = f"{source}.{alias.name}"
                yield statement.lineno, submodule if submodule.partition(".")[2] in MODULES else source


def _module_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run on import: those of the module, of its classes and of its branches."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            for field in ("body", "orelse", "finalbody"):
                yield from _module_level(getattr(statement, field, []))


def _read_only(statement: ast.Assign | ast.AnnAssign) -> bool:
    annotation = getattr(statement, "annotation", None)
    inner = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    if getattr(inner, "id", "") == "Final" and isinstance(annotation, ast.Subscript):
        inner = annotation.slice.value if isinstance(annotation.slice, ast.Subscript) else annotation.slice
    return getattr(inner, "id", "") in READ_ONLY_TYPES.split()


def _mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        name = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        return name in MUTABLE_CALLS.split()
    return isinstance(value, MUTABLE_DISPLAYS)


def _state(tree: ast.Module) -> Iterator[str]:
    """Yield `line: what` for everything at module level that can change after the import."""
    for statement in _module_level(tree.body):
        if isinstance(statement, ast.AugAssign):
            yield f"{statement.lineno}: augmented assignment"
        elif (
            isinstance(statement, ast.Assign | ast.AnnAssign)
            and _mutable(statement.value)
            and not _read_only(statement)
        ):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names = ", ".join(ast.unparse(target) for target in targets)
            if names != "__all__":
                yield f"{statement.lineno}: {names}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield f"{node.lineno}: global {', '.join(node.names)}"


def _tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


each_module = pytest.mark.parametrize("module", [pytest.param(name, id=name or PACKAGE.name) for name in MODULES])


@each_module
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    names = _imports(_tree(module), module)
    assert [f"line {line}: {name}" for line, name in names if not _may_import(module, name)] == []


@each_module
def test_what_people_run_is_imported_lazily(module: str) -> None:
    if any(_within(module, place) for place in IMPORTED_LAZILY):
        return
    eager = {
        name
        for statement in _module_level(_tree(module).body)
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for _, name in _imports(statement, module)
        if any(_within(name, f"{PACKAGE.name}.{place}") for place in IMPORTED_LAZILY)
    }
    assert eager == set()


@each_module
def test_a_module_has_no_mutable_state(module: str) -> None:
    assert list(_state(_tree(module))) == []


@each_module
def test_a_module_names_what_it_imports(module: str) -> None:
    statements = (node for node in ast.walk(_tree(module)) if isinstance(node, ast.ImportFrom))
    assert [node.lineno for node in statements if any(alias.name == "*" for alias in node.names)] == []


@each_module
def test_a_module_opens_with_what_it_is_for(module: str) -> None:
    tree = _tree(module)
    assert ast.get_docstring(tree) or not tree.body


def test_no_test_module_imports_another() -> None:
    tests = PACKAGE.parent / "tests"
    importing = re.compile(r"(?m)^ *(?:from|import) test_\w+")
    found = {path.name: importing.findall(path.read_text()) for path in tests.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


@each_module
def test_a_file_holds_one_idea(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize(
    ("source", "state"),
    [
        ("SEEN = []", ["1: SEEN"]),
        ("a: dict[str, int] = {}", ["1: a"]),
        ("if True:\n    numbers = itertools.count()", ["2: numbers"]),
        ("class A:\n    shared = set()", ["2: shared"]),
        ("N = 0\nN += 1", ["2: augmented assignment"]),
        ("def f():\n    global N\n    N = 1", ["2: global N"]),
        ("NAMES: Mapping[str, int] = {'a': 1}", []),
        ("NAMES: Final[Mapping[str, int]] = {'a': 1}", []),
        ("NAMES: Final = {'a': 1}", ["1: NAMES"]),
        ("__all__ = ['f']", []),
        ("NAMES = ('a', 'b')\nBOTH = frozenset(NAMES)", []),
        ("def f():\n    local = []", []),
    ],
)
def test_state_at_module_level_is_found(source: str, state: list[str]) -> None:
    assert list(_state(ast.parse(source))) == state


@pytest.mark.parametrize(
    ("module", "imported", "allowed"),
    [
        ("wire.layout", "ndpresponder.wire.addresses", True),
        ("wire.layout", "socket", False),
        ("wire.layout", "ndpresponder.linux.netlink", False),
        ("policy.responder", "ndpresponder.config", False),
        ("linux.netlink.wireguard", "pyroute2.netlink", True),
        ("linux.packet.packet_socket", "pyroute2", False),
        ("targets.board", "ndpresponder.daemon", False),
        ("targets.board", "ndpresponder.gateway.pin", False),
        ("uplink.uplink", "ndpresponder.gateway.pin", True),
        ("api.metrics", "scapy.all", False),
    ],
)
def test_the_tables_decide(module: str, imported: str, allowed: bool) -> None:
    assert _may_import(module, imported) is allowed


def test_a_folder_that_the_order_does_not_name_is_refused() -> None:
    with pytest.raises(AssertionError, match="in no folder"):
        _level("wireless")


def test_the_top_of_the_package_is_its_folders() -> None:
    files = [path.name for path in PACKAGE.iterdir() if path.is_file()]
    assert len(files) <= MOST_FILES_AT_THE_TOP, files


def test_a_folder_says_in_one_sentence_what_it_is() -> None:
    for module, path in MODULES.items():
        if path.name == "__init__.py":
            paragraph = (ast.get_docstring(_tree(module)) or "").partition("\n\n")[0]
            assert paragraph.endswith("."), module
