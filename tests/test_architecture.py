"""Holds the picture of the layers against the imports. `python tests/test_architecture.py` prints that picture.

Layers of the daemon, imports go down only:
    composition (__main__, app, assembly, cli) -> edges (api, console, pipeline; never each other) -> services
    -> storage -> domain (standard library only). Leaves are imported from everywhere and import no layer but net's
    reading of an address, which the configuration checks and streams uses.
    The wing (imaging) stands between the composition, which alone imports it, and the edges, of which it imports what
    api has for routes of any kind.
streams, inference, speech and imaging import neither each other nor the daemon; imaging runs models with inference's
runtime. The folder of one imaging back end imports no other's. net imports nothing of ours.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENGINES = ("streams", "inference", "speech", "imaging")
BACK_ENDS = ("pathology", "fundus", "retina", "ultrasound")
EDGES = ("api", "console", "pipeline")
LEAVES = ("config", "log", "health", "bridge", "supervise", "feed", "metrics")
COMPOSITION = ("__main__", "app", "assembly", "cli")
WING = "wing"
OURS = ("daemon", *ENGINES, "net", "migrations")

_BELOW_EDGES = {"services", "storage", "domain", "leaves", *ENGINES}
MAY_IMPORT = {
    "composition": {WING, *EDGES, *_BELOW_EDGES},
    WING: {"api", "services", "storage", "domain", "leaves", "inference", "imaging"},
    **dict.fromkeys(EDGES, _BELOW_EDGES),
    "services": {"storage", "domain", "leaves", *ENGINES},
    "storage": {"domain", "leaves", "net", "migrations"},
    "domain": set(),
    "leaves": {"net"},
    "migrations": {"storage"},
    **{engine: {"net"} for engine in ENGINES if engine != "inference"},
    "inference": set(),
    "imaging": {"inference", "net"},
    "net": set(),
}
# Some layers may be imported for a few modules only: (who, whom) -> which.
ONLY = {
    ("imaging", "inference"): {"inference.runtime", "inference.errors"},
    ("leaves", "net"): {"net.address"},
    ("streams", "net"): {"net.address"},
    (WING, "inference"): {"inference.errors"},
    (WING, "api"): {f"daemon.api.{name}" for name in ("context", "errors", "keys", "sockets")},
}


def layer(module: str) -> str:
    """The layer of one of our modules; "unplaced" is no layer at all."""
    package, *inner = module.split(".")
    if package != "daemon":
        return package
    if not inner or inner[0] in LEAVES:
        return "leaves"
    if inner[0] == "imaging":
        return WING
    if inner[0] in COMPOSITION:
        return "composition"
    return inner[0] if inner[0] in (*EDGES, "services", "storage", "domain") else "unplaced"


@cache
def modules() -> dict[str, Path]:
    """Our modules by dotted name."""
    found = {}
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(module: str) -> Iterator[tuple[str, int]]:
    """The modules that a module imports, inside functions too, with the line."""
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*above, node.module] if node.module else above)
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield (submodule if submodule in modules() else base), node.lineno


def where(module: str, line: int) -> str:
    return f"{modules()[module].relative_to(ROOT)}:{line}"


def crossings() -> Iterator[tuple[str, str, str]]:
    """Every import of ours by ours that leaves its layer: (layer, layer it imports, where)."""
    for module in modules():
        for target, line in imports(module):
            if target.split(".")[0] in OURS and layer(target) != layer(module):
                yield layer(module), layer(target), f"{where(module, line)} imports {target}"


def test_every_module_has_a_place() -> None:
    unplaced = [module for module in modules() if layer(module) == "unplaced"]

    assert not unplaced, f"not in the picture: {unplaced}"
    assert {"composition", "api", "pipeline", "services", "storage", "domain", "leaves"} <= set(map(layer, modules()))


def test_imports_go_down_only() -> None:
    wrong = [place for above, below, place in crossings() if below not in MAY_IMPORT[above]]

    assert not wrong, "\n".join(wrong)


def test_of_some_layers_a_few_modules_only_are_for_others() -> None:
    wrong = [
        f"{where(module, line)} imports {target}"
        for module in modules()
        for target, line in imports(module)
        if target not in ONLY.get((layer(module), layer(target)), {target})
    ]

    assert not wrong, "\n".join(wrong)


def back_end(module: str) -> str | None:
    """The imaging back end in whose folder a module lies, or whose folder it is."""
    return next((part for part in module.split(".") if part in BACK_ENDS), None)


def test_the_folder_of_a_back_end_imports_no_other() -> None:
    wrong = [
        f"{where(module, line)} imports {target}"
        for module in modules()
        if (mine := back_end(module)) is not None
        for target, line in imports(module)
        if target.split(".")[0] in OURS and back_end(target) not in (None, mine)
    ]

    assert not wrong, "\n".join(wrong)
    assert set(map(back_end, modules())) == {None, *BACK_ENDS}


def test_the_domain_imports_the_standard_library_only() -> None:
    wrong = [
        f"{where(module, line)} imports {target}"
        for module in modules()
        if layer(module) == "domain"
        for target, line in imports(module)
        if target.split(".")[0] not in sys.stdlib_module_names and not target.startswith("daemon.domain")
    ]

    assert not wrong, "\n".join(wrong)


def test_sqlalchemy_stays_in_storage() -> None:
    wrong = [
        f"{where(module, line)} imports {target}"
        for module in modules()
        if layer(module) not in ("storage", "migrations")
        for target, line in imports(module)
        if target.split(".")[0] in ("sqlalchemy", "alembic", "aiosqlite", "psycopg")
    ]

    assert not wrong, "\n".join(wrong)


THREAD_MAKERS = {"Thread", "Timer", "ThreadPoolExecutor", "ProcessPoolExecutor", "to_thread", "run_in_executor"}


# The bridge makes all threads but one kind: that which talks with a camera while its caller waits for libav. It is
# made in one place, and ends with the block that began it.
MAKES_THREADS = ("daemon.bridge", "streams.rtsp.front")


def test_only_the_bridge_and_the_front_of_a_camera_make_threads() -> None:
    made = {
        module: [
            (name, node.lineno)
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Call) and (name := called(node)) in THREAD_MAKERS
        ]
        for module, path in modules().items()
    }
    wrong = [
        f"{where(module, line)} calls {name}"
        for module, calls in made.items()
        if module not in MAKES_THREADS
        for name, line in calls
    ]

    assert not wrong, "\n".join(wrong)
    assert "Thread" in [name for name, _ in made["daemon.bridge"]]
    assert [name for name, _ in made["streams.rtsp.front"]] == ["Thread"], "one for each connection, and no other"


def test_the_assembly_starts_nothing_and_insists_on_nothing() -> None:
    assembly = [module for module in modules() if module.startswith("daemon.assembly")]
    wrong = [
        f"{where(module, line)} imports {target}"
        for module in assembly
        for target, line in imports(module)
        if target in ("asyncio", "daemon.supervise", "daemon.services.insist")
    ]
    wrong += [
        f"{where(module, node.lineno)} waits for something"
        for module in assembly
        for node in ast.walk(tree(modules()[module]))
        if isinstance(node, ast.AsyncFunctionDef)
    ]

    assert assembly
    assert not wrong, "\n".join(wrong)


def test_only_the_supervisor_draws_waits_at_random() -> None:
    drawing = {
        module: where(module, node.lineno)
        for module, path in modules().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and called(node) in ("uniform", "expovariate", "triangular")
    }

    assert list(drawing) == ["daemon.supervise"], "\n".join(drawing.values())


def called(node: ast.Call) -> str:
    """`Thread` of both `Thread(...)` and `threading.Thread(...)`."""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


CATCH_ALL = {
    "Exception": ("daemon.supervise", "daemon.api.errors"),
    # What a thread raised is raised again in the task that awaits it.
    "BaseException": ("daemon.bridge",),
}


def test_nothing_else_catches_everything() -> None:
    wrong = [
        f"{where(module, node.lineno)} catches {name or 'everything'}"
        for module, path in modules().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        for name in caught(node)
        if (name == "" or name in CATCH_ALL) and module not in CATCH_ALL.get(name, ())
    ]

    assert not wrong, "\n".join(wrong)


def caught(handler: ast.ExceptHandler) -> list[str]:
    if handler.type is None:
        return [""]
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return [ast.unparse(kind).removeprefix("builtins.") for kind in kinds]


def picture() -> str:
    """Layer -> the layers it imports, and the longest files."""
    below: dict[str, set[str]] = defaultdict(set)
    counts: dict[str, list[int]] = defaultdict(list)
    lengths = []
    for module, path in modules().items():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        counts[layer(module)].append(lines)
        lengths.append((lines, path.relative_to(ROOT)))
    for upper, lower, _ in crossings():
        below[upper].add(lower)
    order = [name for name in MAY_IMPORT if name in counts]
    rows = [f"{'layer':<12} {'files':>5} {'lines':>5}  imports"]
    for name in order:
        imported = ", ".join(other for other in order if other in below[name]) or "nothing of ours"
        rows.append(f"{name:<12} {len(counts[name]):>5} {sum(counts[name]):>5}  {imported}")
    rows += ["", "the ten longest files"]
    rows += [f"{lines:>5}  {path}" for lines, path in sorted(lengths, reverse=True)[:10]]
    return "\n".join(rows)


def test_the_picture_of_the_imports_is_shown_with_s() -> None:
    shown = picture()
    print(f"\n{shown}")

    assert all(f"{name} " in shown for name in ("composition", "services", "domain", "leaves", *ENGINES))


if __name__ == "__main__":
    print(picture())
