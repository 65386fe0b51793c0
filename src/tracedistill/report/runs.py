"""A run as the report sees it: arms, problems and attempts, from a study or a run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tracedistill.errors import InputError
from tracedistill.files import read_json, read_jsonl
from tracedistill.recipes import METHODS, Study, on_validation, resolved
from tracedistill.records import Problem
from tracedistill.report.attempts import AttemptColumns, kept, read_columns
from tracedistill.report.records import Kind, RunFacts

IMPORTED = "imported.json"
"""What was imported into a run folder: per arm the source file's hash, its rows, and refused rows."""
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ArmFacts:
    """One arm as declared; fields that `ArmFigures` has too are described there."""

    name: str
    """Name in the report; `<run>/<arm>` in a report over several runs."""
    kind: Kind
    folder: Path
    own: str
    """Name within that folder."""
    student: str | None = None
    teacher: str | None = None
    prompt: str | None = None
    tune: str | None = None
    adapter: str | None = None
    plan: str | None = None
    """Intervention on the plan shown, if the prompt shows one."""
    forced: str | None = None
    vote: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The resolved arm of the recipe; for an imported arm its entry in imported.json."""

    @property
    def path(self) -> Path:
        """Path of its attempts."""
        return self.folder / "attempts" / f"{self.own}.jsonl"

    @property
    def held(self) -> Path:
        """The file of its attempts at the validation problems on which the decision chooses (absent without any)."""
        return self.folder / "attempts" / f"{on_validation(self.own)}.jsonl"

    @property
    def plans(self) -> Path:
        """Path of the plans shown; the file is absent if there are none."""
        return self.folder / "plans" / f"{self.own}.jsonl"


@dataclass(frozen=True, slots=True)
class RunView:
    """Input of the report; several runs side by side look like one."""

    folder: Path
    """Run folder; the first one for several runs."""
    name: str
    """The study's name, else the folder's; all names for several runs."""
    task: str
    seed: int
    """Seed of the study, from which the report's draws are seeded."""
    arms: tuple[ArmFacts, ...]
    """Arms with attempts, in the recipe's order, then imported ones."""
    comparisons: tuple[Pair, ...]
    """(first, second) of arms to test: the family for Holm."""
    recipe: Mapping[str, Any] | None = None
    """The resolved recipe; None for imported outputs and for several runs."""
    teachers: tuple[str, ...] = ()
    """Teachers whose traces the arms use; empty for several runs."""
    assembly: Mapping[str, Any] | None = None
    """assembly.json: what each arm was tuned on and shown."""
    manifests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Node name -> manifest, without the report's own; for several runs `<stage>:<run>/<arm>` and `<run>/<stage>`."""
    waiting: tuple[str, ...] = ()
    """Arms of the recipe without attempts yet."""
    runs: tuple[RunFacts, ...] = ()
    """The runs, if there are several."""
    against: str | None = None
    """`report --against`: name of the run that the others are compared with."""
    wanted: frozenset[str] | None = field(default=None, repr=False)
    """Several runs: ids of their common, identical problems; None: all problems count."""
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def arm(self, name: str) -> ArmFacts:
        """Return the arm of this name. Raises KeyError if there is none."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise KeyError(name)

    def problems(self) -> Mapping[str, Problem]:
        """Return the study's test problems by id."""
        if "problems" not in self._cache:
            self._cache["problems"] = self._read_problems()
        cached: Mapping[str, Problem] = self._cache["problems"]
        return cached

    def attempts(self, arm: str) -> AttemptColumns:
        """Return an arm's attempts, read once; arms with the same problems in the same order share `ids`."""
        known: dict[str, AttemptColumns] = self._cache.setdefault("attempts", {})
        if arm not in known:
            self.keep(arm, read_columns(self.arm(arm).path))
        return known[arm]

    def keep(self, name: str, columns: AttemptColumns) -> None:
        """Store attempts that are already read."""
        known: dict[str, AttemptColumns] = self._cache.setdefault("attempts", {})
        if self.wanted is not None:
            columns = kept(columns, self.wanted)
        same = next((other.ids for other in known.values() if other.ids == columns.ids), columns.ids)
        known[name] = replace(columns, ids=same)

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """Return the result of `make`, computed once per view, for figures that several parts need."""
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def _read_problems(self) -> dict[str, Problem]:
        path = self.folder / "problems.jsonl"
        return {
            problem.problem_id: problem
            for problem in read_jsonl(path, Problem)
            if (self.recipe is None or problem.split == "test")
            and (self.wanted is None or problem.problem_id in self.wanted)
        }


def view_of_study(
    study: Study,
    folder: Path | None = None,
    teachers: Sequence[str] = (),
    problems: Mapping[str, Problem] | None = None,
) -> RunView:
    """Open a study whose attempts are complete. `problems`: its test problems, if already loaded."""
    view = _view_of_recipe(folder or study.folder, resolved(study), tuple(teachers))
    if problems is not None:
        view._cache["problems"] = problems
    return view


def view_of_folder(folder: Path) -> RunView:
    """Open a run folder alone. Raises InputError if it is not a run folder or has no attempts."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run folder; give a run folder or a recipe (.yaml)")
    recipe = _recipe_of(folder)
    if recipe is not None:
        view = _view_of_recipe(folder, recipe, None)
    elif (folder / IMPORTED).exists():
        imported = read_json(folder / IMPORTED)
        arms = _imported_arms(folder, imported, ())
        names = [arm.name for arm in arms]
        pairs = tuple((first, second) for place, second in enumerate(names) for first in names[place + 1 :])
        view = RunView(folder, folder.resolve().name, imported["task"], 0, arms, pairs)
    else:
        raise InputError(
            f"{folder}: not a run folder: it has neither manifests of a study nor {IMPORTED}; "
            "make one with `tracedistill run` or `tracedistill import --run-dir`"
        )
    if not view.arms:
        raise InputError(f"{folder}: no attempts yet; run `tracedistill evaluate` on its recipe first")
    return view


def _view_of_recipe(folder: Path, recipe: Mapping[str, Any], teachers: tuple[str, ...] | None) -> RunView:
    manifests = manifests_of(folder)
    declared = [_arm(folder, recipe, name, arm) for name, arm in recipe["arms"].items()]
    arms = [arm for arm in declared if arm.path.exists()]
    there = {arm.name for arm in arms}
    pairs: Sequence[Sequence[str]] = recipe.get("comparisons") or ()
    if not pairs:
        tuned = [arm.name for arm in declared if arm.tune is not None]
        pairs = [(first, second) for place, second in enumerate(tuned) for first in tuned[place + 1 :]]
    if teachers is None:
        reports = folder / "validation"
        teachers = tuple(name for name in recipe["teachers"] if (reports / f"{name}.report.json").exists())
    if (folder / IMPORTED).exists():
        arms += _imported_arms(folder, read_json(folder / IMPORTED), {arm.name for arm in declared})
    assembly = folder / "assembly.json"
    return RunView(
        folder=folder,
        name=recipe["study"],
        task=recipe["task"]["name"],
        seed=recipe["seed"],
        arms=tuple(arms),
        comparisons=tuple((first, second) for first, second in pairs if {first, second} <= there),
        recipe=recipe,
        teachers=teachers,
        assembly=read_json(assembly) if assembly.exists() else None,
        manifests=manifests,
        waiting=tuple(arm.name for arm in declared if arm.name not in there),
    )


def _arm(folder: Path, recipe: Mapping[str, Any], name: str, arm: Mapping[str, Any]) -> ArmFacts:
    kind: Kind = "in context"
    if arm.get("served"):
        kind = "served"
    elif arm.get("tune") is not None or arm.get("adapter"):
        kind = "tuned"
    return ArmFacts(
        name=name,
        kind=kind,
        folder=folder,
        own=name,
        student=arm.get("student") or next(iter(recipe["students"])),
        teacher=arm.get("teacher") or next(iter(recipe["teachers"]), None),
        prompt=arm.get("prompt"),
        tune=arm.get("tune"),
        adapter=arm.get("adapter"),
        plan=arm.get("plan"),
        forced=arm.get("forced"),
        vote=bool(arm.get("vote")),
        settings=arm,
    )


def _imported_arms(folder: Path, imported: Mapping[str, Any], taken: Sequence[str] | set[str]) -> tuple[ArmFacts, ...]:
    arms = (
        ArmFacts(name, "imported", folder, name, student=entry.get("student"), settings=entry)
        for name, entry in imported["arms"].items()
        if name not in taken
    )
    return tuple(arm for arm in arms if arm.path.exists())


def manifests_of(folder: Path) -> dict[str, Any]:
    """Return node -> manifest of everything in a run folder except the report."""
    manifests = {}
    for path in sorted(folder.rglob("*.manifest.json")):
        manifest = read_json(path)
        # a subfolder may hold another run (a sweep's, a copy): its manifests name other places
        outputs = manifest.get("outputs")
        first = next(iter(outputs), "").rstrip("/") if isinstance(outputs, dict) else ""
        if path.relative_to(folder).as_posix() == f"{first}.manifest.json":
            manifests[manifest["node"]] = manifest
    manifests.pop("report", None)
    return manifests


def _recipe_of(folder: Path) -> Mapping[str, Any] | None:
    """Return the resolved recipe of the newest manifest: older ones may predate arms added later."""
    path = folder / "report.json.manifest.json"
    manifests = [*manifests_of(folder).values(), *([read_json(path)] if path.exists() else [])]
    with_recipe = [manifest for manifest in manifests if "recipe" in manifest]
    if not with_recipe:
        return None
    newest = max(with_recipe, key=lambda m: max((out["mtime_ns"] for out in m["outputs"].values()), default=0))
    recipe: Mapping[str, Any] = newest["recipe"]
    return recipe


def method_of(arm: ArmFacts) -> str | None:
    """Return a tuned arm's training method; None for others. Arms from before methods existed imitated their rows."""
    return str(arm.settings.get("method") or "sft") if arm.tune is not None else None


def imitates(arm: ArmFacts) -> bool:
    """Return whether the arm was trained to imitate its own rows."""
    method = method_of(arm)
    return method is None or method not in METHODS or METHODS[method].imitates
