"""Open a study for reading, from its recipe or from its run folder."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.files import file_hash, read_json
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import Study, run_name
from tracedistill.report.runs import manifests_of
from tracedistill.stores import fetched

FULL = "config.json"
"""Marker file of a fully tuned model; an adapter's folder has adapter_config.json."""


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study whose files can be read."""

    work: StudyRun
    """The study with its task, prompts and engines."""
    loaded: pipeline.LoadedStudy | None
    """The recipe it was opened by; None: a run folder alone."""

    @property
    def study(self) -> Study:
        """The resolved recipe."""
        return self.work.study

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.work.run.folder

    def command(self, stage: str) -> str:
        """Return the command that makes a stage."""
        if self.loaded is None:
            return f"tracedistill {stage} RECIPE"
        return " ".join(("tracedistill", stage, str(self.loaded.recipe), *self.loaded.overrides))

    def arm(self, name: str) -> str:
        """Return the name if the study has such an arm. Raises InputError that lists its arms otherwise."""
        if name not in self.study.arms:
            raise InputError(f"--arm {name}: no such arm; the study has: {', '.join(self.study.arms)}")
        return name

    def adapter(self, name: str, seed: int = 0) -> Path:
        """Return the folder of an arm's adapter, checked against its manifest.

        Raises InputError for an untuned arm, an unknown seed, and a folder that is missing, modified since training, or
        outdated by the recipe.
        """
        study = self.study
        owner = study.adapter_of(self.arm(name))
        if owner is None:
            tuned = ", ".join(study.tuned_arms()) or "none"
            raise InputError(f"arm {name} has no adapter: its student is untuned; tuned arms: {tuned}")
        if not 0 <= seed < study.training.seeds:
            raise InputError(f"--seed {seed}: the study has {study.training.seeds} adapter(s) per arm, counted from 0")
        run = f"adapters/{run_name(owner, seed)}"
        path, manifest = self.folder / run, self.folder / f"{run}.manifest.json"
        if not path.is_dir() or not manifest.is_file():
            raise InputError(f"{path}: no adapter yet; first run: {self.command('train')}")
        if read_json(manifest)["outputs"][run]["sha256"] != file_hash(path):
            raise InputError(
                f"{path}: was changed after training wrote it; delete it, then run: {self.command('train')}"
            )
        for node, state in pipeline.status(self.loaded) if self.loaded else ():
            if (node.kind, node.of) == ("train", run_name(owner, seed)) and state.kind != "complete":
                raise InputError(f"{path}: is {state.kind} ({state.reason}); first run: {self.command('train')}")
        known = read_json(manifest).get("content", {})
        for student, content in self.work.content_of(study.student_of(owner)).items():
            if student in known and known[student]["sha256"] != content["sha256"]:
                raise InputError(f"{path}: was tuned on other files of {student} than the current ones")
        return path


def open_study(target: str | Path, overrides: Sequence[str] = (), stage: str | None = None) -> OpenStudy:
    """Open a recipe (.yaml), making what `stage` needs; or a run folder, in which nothing is made.

    Raises InputError for anything else, and for overrides of a run folder.
    """
    path = fetched(str(target))
    if path.suffix in (".yaml", ".yml") and not path.is_dir():
        loaded = pipeline.load(path, overrides)
        if stage is not None:
            pipeline.run(loaded, stage, quiet=True)
        return OpenStudy(StudyRun(loaded, Screen(quiet=True)), loaded)
    if not path.is_dir():
        raise InputError(f"{path}: no such recipe (.yaml) or run folder")
    if overrides:
        raise InputError(f"{overrides[0]}: overrides a recipe key, but a run folder is read as it is")
    study = _study_of(path)
    return OpenStudy(StudyRun(pipeline.LoadedStudy(study, path / "study.yaml"), Screen(quiet=True)), None)


def _study_of(folder: Path) -> Study:
    """Return the study of a run folder from its newest manifest; the folder may have been moved."""
    manifests = [manifest for manifest in manifests_of(folder).values() if "recipe" in manifest]
    if not manifests:
        raise InputError(f"{folder}: not a study's run folder: none of its manifests contains a recipe")
    newest = max(manifests, key=_written)
    recipe = {**newest["recipe"], "run_dir": str(folder)}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / f"{folder.name}.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
        try:
            return pipeline.load(path).study
        except InputError as error:
            raise InputError(f"{folder}: was written by an incompatible version of tracedistill: {error}") from error


def _written(manifest: Mapping[str, Any]) -> int:
    return max((int(output["mtime_ns"]) for output in manifest["outputs"].values()), default=0)


def shown_model(name: str) -> str:
    """Return a portable name of a model or file: the last part of a path."""
    local = name.startswith(("/", ".", "~")) or name.count("/") > 1 or Path(name).exists()
    return Path(name).name if local and ":" not in name else name
