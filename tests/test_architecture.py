"""Which module may import what: layers point one way, the core is pure, heavy things stay behind one door."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LAYERS = {
    "words": (
        "service",
        "service.errors",
        "service.domain",
        "service.domain.geometry",
        "service.domain.model",
        "service.domain.rules",
        "service.domain.work",
    ),
    "core": (
        "service.raster",
        "service.sampling",
        "service.sampling.chance",
        "service.sampling.explanation",
        "service.sampling.placement",
        "service.sampling.space",
        "service.batch.scene",
        "service.batch.strict_json",
        "service.proposing",
        "service.export.image_lists",
        "service.export.lines",
        "service.export.manifest",
        "service.export.model",
        "service.export.numbering",
        "service.export.plan",
        "service.export.share",
        "service.review",
        "service.review.decisions",
        "service.review.gallery",
        "service.review.queue",
        "service.review.survey",
        "service.label_studio.brush",
        "service.label_studio.instructions",
        "service.label_studio.interactive",
        "service.label_studio.labeling",
        "service.label_studio.payloads",
        "service.label_studio.queue_project",
    ),
    "edges": (
        "service.batch",
        "service.batch.labels",
        "service.batch.sheet",
        "service.config",
        "service.export",
        "service.export.archive",
        "service.export.cutting",
        "service.export.file_cache",
        "service.export.folders",
        "service.export.formats",
        "service.export.formats.coco",
        "service.export.formats.darknet",
        "service.export.formats.ndjson",
        "service.export.formats.plain",
        "service.export.formats.tfrecord",
        "service.export.formats.voc",
        "service.export.formats.yolo",
        "service.export.jpeg_blocks",
        "service.export.results",
        "service.export.sources",
        "service.export.writing",
        "service.export.yolo_repository",
        "service.jobs",
        "service.label_studio",
        "service.label_studio.auth",
        "service.label_studio.client",
        "service.label_studio.images",
        "service.label_studio.live",
        "service.label_studio.queues",
        "service.label_studio.setup",
        "service.label_studio.steps",
        "service.pictures",
    ),
    "use cases": (
        "service.batch.images",
        "service.delivering",
        "service.exporting",
        "service.reviewing",
        "service.workflow",
    ),
    "entrances": (
        "service.ingest",
        "service.ingest.events",
        "service.ingest.ml_backend",
        "service.ingest.webhook",
        "service.web",
        "service.web.access",
        "service.web.crops",
        "service.web.directory",
        "service.web.exports",
        "service.web.gallery",
        "service.web.looks",
        "service.web.said",
        "service.web.shown",
        "service.web.overview",
        "service.web.snapshot",
    ),
    "wiring": ("service.serving",),
    "command": (
        "service.cli",
        "service.cli.__main__",
        "service.cli.exporting",
        "service.cli.parts",
        "service.cli.verdicts",
        "service.cli.sampling",
        "service.cli.report",
    ),
    "demo": (
        "service.demo",
        "service.demo.annotator",
        "service.demo.background",
        "service.demo.label_studio",
        "service.demo.loop",
        "service.demo.pictures",
    ),
}
"""From the inside out: a module imports from its own layer and from those above it in this table."""

EXCEPTIONS = {("service.cli", "service.demo.loop")}
"""`negatives demo` starts the demo, which in turn runs the command as people do."""

VALUES_ONLY = {
    *("collections", "collections.abc", "dataclasses", "datetime", "enum", "functools", "hashlib", "itertools"),
    *("bisect", "heapq", "json", "math", "operator", "typing", "urllib.parse", "numpy", "numpy.typing"),
}
"""What may be imported from outside where nothing but values goes in and out."""

PURE = {
    "service.domain.geometry": set[str](),
    "service.domain.model": set[str](),
    "service.domain.rules": set[str](),
    "service.domain.work": set[str](),
    "service.errors": set[str](),
    "service.raster": set[str](),
    "service.sampling": set[str](),
    "service.sampling.chance": set[str](),
    "service.sampling.explanation": set[str](),
    "service.sampling.placement": set[str](),
    "service.sampling.space": set[str](),
    "service.batch.scene": {"difflib", "pydantic"},
    "service.batch.strict_json": set[str](),
    "service.proposing": set[str](),
    "service.review": set[str](),
    "service.review.decisions": set[str](),
    "service.review.gallery": set[str](),
    "service.review.queue": set[str](),
    "service.review.survey": set[str](),
    "service.export.image_lists": {"posixpath"},
    "service.export.lines": set[str](),
    "service.export.manifest": set[str](),
    "service.export.model": {"pathlib"},
    "service.export.numbering": set[str](),
    "service.export.plan": {"pathlib"},
    "service.export.share": set[str](),
    "service.ingest.events": set[str](),
    "service.label_studio.brush": {
        "base64",
        "io",
        "PIL.PngImagePlugin",
    },  # bytes that came with the JSON, decoded in memory
    "service.label_studio.instructions": set[str](),
    "service.label_studio.interactive": set[str](),
    "service.label_studio.labeling": {"re", "xml.etree", "xml.sax.saxutils"},
    "service.label_studio.payloads": {"base64", "re"},
    "service.label_studio.queue_project": {"base64", "html"},
}
"""The pure modules, and what each may import beside `VALUES_ONLY`."""

ONLY_FROM = {"pathlib": {"PurePath", "PurePosixPath"}, "xml.etree": {"ElementTree"}}
"""Of these not the whole: no disk."""

IMPURE_NAMES = {
    *("open", "print", "input", "exec", "eval", "__import__", "breakpoint", "globals"),
    *("now", "utcnow", "today", "fromtimestamp", "SystemRandom", "default_rng"),
}
"""Disk, terminal, clock and chance that need no import."""

IMPURE_ATTRIBUTES = {("np", "random"), ("np", "load"), ("np", "save"), ("np", "fromfile"), ("ElementTree", "parse")}


def modules() -> dict[str, Path]:
    """Every module of ours, by its name."""
    found = {}
    for path in sorted((ROOT / "service").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def tree(module: str) -> ast.Module:
    """A module's source, parsed."""
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imports(module: str) -> set[tuple[str, str | None]]:
    """All that a module imports, wherever it does: (module, name), or (module, None) for a whole one."""
    found: set[tuple[str, str | None]] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by a relative path"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add((inner, None) if inner in MODULES else (node.module or "", alias.name))
    return found


def ours(module: str) -> set[str]:
    """The modules of ours that a module imports."""
    return {name for name, _ in imports(module) if name in MODULES}


def top_level(module: str) -> set[str]:
    """The distributions' packages that a module imports."""
    return {name.partition(".")[0] for name, _ in imports(module)}


def test_every_module_has_its_layer() -> None:
    """Who adds a module says where it belongs."""
    assert sorted(module for layer in LAYERS.values() for module in layer) == sorted(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_layers_point_one_way(module: str) -> None:
    """What is inside knows nothing of what is around it."""
    order = {name: number for number, layer in enumerate(LAYERS.values()) for name in layer}
    outward = {other for other in ours(module) if order[other] > order[module] and (module, other) not in EXCEPTIONS}
    assert outward == set()


def test_no_two_modules_need_each_other() -> None:
    """The imports are without circles."""
    tuple(TopologicalSorter({module: ours(module) for module in MODULES}).static_order())


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("service.domain")])
def test_the_domain_knows_only_itself(module: str) -> None:
    """Of ours it imports its own modules and the errors."""
    assert {other for other in ours(module) if not other.startswith("service.domain")} <= {"service.errors"}


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_nothing_that_touches_the_world(module: str) -> None:
    """Neither network nor disk, neither clock nor chance."""
    allowed = VALUES_ONLY | PURE[module]
    assert {name for name, _ in imports(module) if name not in MODULES} <= allowed


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_take_only_the_harmless_part(module: str) -> None:
    """A path's name, but not its file."""
    taken = {(name, part) for name, part in imports(module) if name in ONLY_FROM}
    assert {(name, part) for name, part in taken if part not in ONLY_FROM[name]} == set()


@pytest.mark.parametrize(
    "module",
    PURE,
)
def test_pure_modules_rest_on_pure_modules(module: str) -> None:
    """What is imported from ours is pure itself, or the version."""
    assert ours(module) <= {*PURE, "service"}


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_call_nothing_that_touches_the_world(module: str) -> None:
    """Not even by what is there without an import."""
    names = {node.id for node in ast.walk(tree(module)) if isinstance(node, ast.Name)}
    attributes = [node for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)]
    pairs = {(node.value.id, node.attr) for node in attributes if isinstance(node.value, ast.Name)}
    assert (names | {node.attr for node in attributes}) & IMPURE_NAMES == set()
    assert pairs & IMPURE_ATTRIBUTES == set()


@pytest.mark.parametrize(
    ("package", "door"),
    [
        ("dbos", "service.jobs"),
        ("sqlalchemy", "service.jobs"),
        ("label_studio_sdk", "service.label_studio.client"),
    ],
)
def test_what_we_might_replace_has_one_door(package: str, door: str) -> None:
    """The engine and the SDK are known to one module each."""
    assert [module for module in MODULES if package in top_level(module)] == [door]


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("service.cli", {"label_studio_sdk", "dbos", "flask", "PIL", "numpy", "httpx"}),
        ("service.web", {"label_studio_sdk", "dbos", "httpx"}),
        ("service.serving", {"label_studio_sdk"}),
        ("service.jobs", {"label_studio_sdk", "flask", "PIL", "numpy"}),
    ],
)
def test_what_must_start_fast_imports_nothing_heavy(module: str, heavy: set[str]) -> None:
    """`negatives --help` answers at once; a web process never loads the SDK."""
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert heavy & set(found.stdout.split()) == set()
