"""The modules keep to their layers: who may import whom, no state at module level, no file that holds two ideas.

LAYERS is the table a change has to argue with: it is read here, and nowhere else.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ndpresponder"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
LONGEST_FILE = 300
PURE_STDLIB = "bisect collections dataclasses enum functools heapq ipaddress itertools operator struct types typing"
LOWER_LAYERS = (
    "wire outcome limits requester responder defence narrator targets announce groups presence keepalive "
    "linux observe config errors supervise equipment uplink keepalive presence pin autowire unread overload backlog "
    "stall refused moves requesters known confirmed memory suitability rivals hearing"
)


@dataclass(frozen=True)
class Layer:
    """What the modules of one place may import: of ours, of others, and whether the whole of the standard library."""

    ours: str = ""
    third_party: str = ""
    pure: bool = False

    def allows(self, imported: str) -> bool:
        """Tell whether a module of this layer may import `imported`."""
        top, _, inner = imported.partition(".")
        if top == PACKAGE.name:
            return inner == "" or any(_within(inner, place) for place in self.ours.split())
        if top in sys.stdlib_module_names:
            return not self.pure or top in PURE_STDLIB.split()
        return top in self.third_party.split()


# The longest matching name counts.
LAYERS = {
    "": Layer(),
    "__main__": Layer("cli"),
    "wire": Layer("wire outcome", pure=True),
    "outcome": Layer(pure=True),
    "errors": Layer(),
    "limits": Layer(pure=True),
    "requester": Layer("wire outcome", pure=True),
    "responder": Layer("wire outcome requester defence known targets.table", pure=True),
    "defence": Layer("wire targets.table", pure=True),
    "known": Layer("wire", pure=True),
    "confirmed": Layer("wire", pure=True),
    "suitability": Layer("linux errors"),
    "rivals": Layer("linux observe.logs errors"),
    "narrator": Layer("suitability wire linux observe.logs outcome limits config targets.table"),
    "targets": Layer("targets wire errors linux"),
    "targets.table": Layer("wire", pure=True),
    "targets.sources": Layer("targets wire errors linux config observe.logs", third_party="h11"),
    "targets.schedule": Layer(pure=True),
    "targets.probe": Layer("linux limits targets.schedule wire"),
    "announce": Layer("wire", pure=True),
    "groups": Layer("wire targets.table", pure=True),
    "recent": Layer("wire", pure=True),
    "search": Layer("errors linux wire"),
    "moves": Layer("announce linux observe.logs recent responder search targets.table wire"),
    "hearing": Layer("errors linux observe.logs wire"),
    "multicast_router": Layer("errors linux wire"),
    "presence": Layer("announce groups reports multicast_router linux observe.logs targets.table wire"),
    "reports": Layer("errors linux wire"),
    "keepalive": Layer("linux wire"),
    "verification": Layer("linux targets.probe errors"),
    "pin": Layer("linux wire observe.logs errors"),
    "lately": Layer(pure=True),
    "overload": Layer("wire outcome known confirmed lately", pure=True),
    "memory": Layer("known confirmed"),
    "requesters": Layer("linux wire overload known confirmed memory outcome observe.tally"),
    "stall": Layer("linux narrator"),
    "refused": Layer("linux narrator observe.tally outcome wire"),
    "unread": Layer("linux wire overload requester outcome narrator observe.tally targets.table"),
    "autowire": Layer("linux observe.logs errors"),
    "fastpath": Layer("fastpath linux narrator requester outcome observe.tally targets.table wire config errors"),
    "fastpath.tables": Layer("requester targets.table wire", pure=True),
    "linux": Layer("linux wire errors"),
    "linux.engine": Layer("errors", third_party="h11"),
    "linux.netlink": Layer("linux wire errors", third_party="pyroute2"),
    "observe": Layer("observe outcome errors config limits", third_party="structlog prometheus_client h11"),
    "observe.listen": Layer("linux.unix_socket observe.logs errors"),
    "lab": Layer("lab linux errors"),
    "config": Layer("config errors"),
    "supervise": Layer("errors"),
    "equipment": Layer("requester presence verification fastpath targets.table linux limits config errors uplink"),
    "backlog": Layer("linux observe.tally outcome wire"),
    "uplink": Layer(
        "backlog equipment wire unread known requesters memory stall refused requester responder narrator keepalive "
        "targets.table moves targets.probe linux observe.tally observe.logs outcome limits config errors"
    ),
    "control": Layer(f"control {LOWER_LAYERS}", third_party="h11"),
    "metrics": Layer("observe targets.board uplink"),
    "services": Layer(LOWER_LAYERS),
    "endpoint": Layer("errors supervise"),
    "belonging": Layer(LOWER_LAYERS),
    "assembly": Layer(f"{LOWER_LAYERS} services belonging"),
    "daemon": Layer(f"{LOWER_LAYERS} metrics control services assembly endpoint upgrade"),
    "upgrade": Layer("errors"),
    "diagnose": Layer(f"diagnose control flags {LOWER_LAYERS}"),
    "diagnose.capture": Layer(f"diagnose {LOWER_LAYERS}", third_party="scapy"),
    "flags": Layer("config errors"),
    "commands": Layer(f"{LOWER_LAYERS} flags daemon diagnose lab"),
    "cli": Layer("commands config errors"),
}
IMPORTED_LAZILY = ("diagnose", "lab")  # a person runs them; the daemon must not pay for them

MUTABLE_DISPLAYS = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp | ast.GeneratorExp
MUTABLE_CALLS = "list dict set bytearray array defaultdict deque OrderedDict Counter count cycle iter Lock Queue Event"
# A constant table is fine once its annotation lets the type checker refuse every change.
READ_ONLY_TYPES = "Mapping Sequence Collection Set AbstractSet"


def _within(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


def _layer(module: str) -> Layer:
    places = [place for place in LAYERS if place and _within(module, place)]
    assert places or module == "", f"{module} is in no layer: add a row to LAYERS"
    return LAYERS[max(places, key=len, default="")]


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
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    layer = _layer(module)
    outside = [f"line {line}: {name}" for line, name in _imports(_tree(module), module) if not layer.allows(name)]
    assert outside == []


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
        ("linux.netlink", "pyroute2.netlink", True),
        ("linux.packet_socket", "pyroute2", False),
        ("targets.board", "ndpresponder.daemon", False),
        ("observe.exporter", "scapy.all", False),
        ("wireless", "ndpresponder.wire", None),
    ],
)
def test_the_table_decides(module: str, imported: str, allowed: bool | None) -> None:
    if allowed is None:
        with pytest.raises(AssertionError, match="add a row"):
            _layer(module)
    else:
        assert _layer(module).allows(imported) is allowed
