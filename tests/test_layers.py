"""The layers of DESIGN.md: imports point to lower layers only, and heavy libraries stay where they are."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "tracedistill"
LAYERS: dict[str, int] = {
    name: number
    for number, names in enumerate(
        [
            "errors plugins records output",
            "files stats chat spinner events",
            "stores",
            "recipes answers compute",
            "arithmetic",
            "tasks",
            "engines",
            "validation teachers",
            "interventions",
            "sft",
            "training",
            "evaluation forecast",
            "report review",
            "pipeline",
            "tools train evaluate",
            "cli students",
        ]
    )
    for name in names.split()
}
"""Module or package -> its layer. A new one is put here by hand: where it belongs is a decision."""

HEAVY: dict[str, dict[str, str]] = {
    "torch": {
        "engines.local": "runs models",
        "engines.adapters": "loads models and switches their adapters",
        "engines.decoding": "runs batches token by token",
        "engines.layouts": "tries how rows may be laid out",
        "engines.lora": "adds adapters in half precision",
        "engines.packed_linear": "lays weights out for quicker products",
        "training": "the trainer",
        "engines.weights": "converts packaged weights once, inside the function",
        "forecast.calibration": "measures a GPU, inside the function",
        "engines.processor": "measures a layer, inside the function",
        "engines.dtypes": "asks which accelerators there are, inside the function",
        "engines.gpus": "asks which GPUs there are, inside the function",
        "pipeline.worker": "names the GPU in the manifest, inside the function",
        "tools.export": "merges adapters",
        "tools.doctor": "asks which GPUs there are",
    },
    "trl": {"training": "the trainer"},
    "starlette": {"review": "the page"},
    "uvicorn": {"review": "the page"},
    "openai": {"engines": "the client of servers"},
    "httpx2": {"engines": "the client of servers"},
    "fsspec": {"stores.objects": "talks to object stores, inside the function"},
    "datasets": {"tasks._rows": "the hub", "training": "rows on disk"},
}
"""Library -> module or package that may import it -> why."""


@dataclass(frozen=True)
class Import:
    """One import statement."""

    module: str
    """Who imports, below tracedistill, with dots; empty: the package itself."""
    target: str
    """What is imported, as written in full."""
    line: int
    """Where."""
    function: str
    """The function that it stands in; empty: at the top."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SOURCE.rglob("*.py")):
        parts = list(path.relative_to(SOURCE).with_suffix("").parts)
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


NAMES = {name for name, _ in modules()}


def imports() -> list[Import]:
    found = []
    for name, path in modules():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]

        def visit(node: ast.AST, function: str, name: str = name, package: str = package) -> None:
            targets: list[str] = []
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = ".".join(
                    ["tracedistill", *filter(None, package.split("."))][: len(package.split(".")) + 2 - node.level]
                )
                source = ".".join(filter(None, [above if node.level else "", node.module]))
                for alias in node.names:
                    whole = f"{source}.{alias.name}"
                    is_module = whole.removeprefix("tracedistill.") in NAMES
                    targets.append(whole if is_module else source)
            found.extend(Import(name, target, node.lineno, function) for target in targets)  # type: ignore[attr-defined]
            inside = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
            for child in ast.iter_child_nodes(node):
                visit(child, inside)

        visit(ast.parse(path.read_text(encoding="utf-8")), "")
    return found


ALL = imports()
OWN = [each for each in ALL if each.target.startswith("tracedistill.")]


def inside(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


def top(module: str) -> str:
    return module.split(".")[0]


def test_the_reader_of_imports_reads() -> None:
    assert Import("training.models", "tracedistill.training.trainer", 0, "load_model") in {
        Import(each.module, each.target, 0, each.function) for each in OWN
    }
    assert any(each.target == "tracedistill.tasks.babi.files" and each.module == "tasks.babi.task" for each in OWN)
    assert len(OWN) > 100


def test_every_module_has_a_layer() -> None:
    here = {top(name) for name in NAMES} - {"", "__main__"}
    assert here - set(LAYERS) == set(), "new modules: put them into LAYERS"


def test_imports_point_to_lower_layers() -> None:
    wrong = []
    for each in OWN:
        target = each.target.removeprefix("tracedistill.")
        if top(target) == top(each.module) or not each.module or target == "__version__":
            continue
        if LAYERS.get(top(target), 99) >= LAYERS.get(top(each.module), 99):
            wrong.append(f"{each.module}:{each.line} imports {target}")
    assert wrong == []


def test_no_module_imports_itself_in_a_circle() -> None:
    """Imports inside functions count, and importing a module imports the packages that it lies in."""
    graph: dict[str, set[str]] = {name: set() for name in NAMES}
    for each in OWN:
        graph[each.module].add(each.target.removeprefix("tracedistill."))
    circles = []
    for start in graph:
        seen, todo = set(), [start]
        while todo:
            for target in graph.get(todo.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        if start in seen:
            circles.append(start)
    assert circles == []


@pytest.mark.parametrize("library", sorted(HEAVY))
def test_heavy_libraries_stay_put(library: str) -> None:
    users = {each.module: each for each in ALL if inside(each.target, library)}
    wrong = [
        f"{module}:{each.line}"
        for module, each in users.items()
        if not any(inside(module, place) for place in HEAVY[library])
    ]
    assert wrong == []


def test_every_place_of_a_heavy_library_is_used() -> None:
    unused = [
        (library, place)
        for library, places in HEAVY.items()
        for place in places
        if not any(inside(each.target, library) and inside(each.module, place) for each in ALL)
    ]
    assert unused == []


@pytest.mark.parametrize("module", ["engines.weights", "training.arm", "sft.examples"])
def test_where_heavy_libraries_wait_for_the_function(module: str) -> None:
    at_top = [each.target for each in ALL if each.module == module and not each.function]
    assert not {top(target) for target in at_top} & {"torch", "transformers", "trl", "peft", "datasets", "accelerate"}


def test_no_relative_or_starred_imports() -> None:
    for _, path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                assert node.names[0].name != "*", path


# ---- what is loaded

LIGHT = (
    "torch",
    "transformers",
    "datasets",
    "numpy",
    "scipy",
    "yaml",
    "pydantic",
    "rich",
    "jinja2",
    "peft",
    "trl",
    "openai",
    "httpx",
    "fsspec",
)


def loaded_by(code: str) -> set[str]:
    """Top-level modules in memory behind this code, in a process of its own."""
    code = f"import sys\n{code}\nsys.stderr.write(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(done.stderr.split())


def test_help_loads_nothing_heavy() -> None:
    code = "from tracedistill.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert loaded_by(code) & set(LIGHT) == set()


def test_help_of_a_stage_loads_nothing_heavy() -> None:
    code = "from tracedistill.cli import main\ntry:\n    main(['train', '--help'])\nexcept SystemExit:\n    pass"
    assert loaded_by(code) & set(LIGHT) == set()


def test_the_schema_of_recipes_loads_no_pydantic() -> None:
    assert "pydantic" not in loaded_by("import tracedistill.recipes")


def test_help_is_quick() -> None:
    """Processor time, which a busy machine does not turn; 0.3 s is the aim."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "tracedistill.cli", "--help"], cwd=ROOT, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 1.0


@pytest.mark.parametrize(
    "module",
    [
        "pipeline",
        "evaluation.batches",
        "sft.examples",
        "evaluation.scoring",
        "training.arm",
        "tasks.babi.task",
        "engines.weights",
    ],
)
def test_what_needs_no_model_loads_no_torch(module: str) -> None:
    assert not loaded_by(f"import tracedistill.{module}") & {
        "torch",
        "transformers",
        "trl",
        "peft",
        "datasets",
        "openai",
    }
