from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.files import file_hash
from tracedistill.pipeline import worker

StudyFile = Callable[..., Path]


def contents(folder: Path) -> dict[str, str]:
    """Hashes of everything that must not depend on time."""
    kept = [path for path in folder.rglob("*") if path.is_file() and path.suffix in (".jsonl", ".json")]
    timed = ("report.json",)
    out = {}
    for path in kept:
        if path.name.endswith("manifest.json") or path.name in timed:
            continue
        if path.parent.name in ("attempts", "generations"):
            rows = [json.loads(line) for line in path.read_text().splitlines() if path.suffix == ".jsonl"]
            out[path.name + path.parent.name] = json.dumps([{**row, "seconds": 0} for row in rows])
        else:
            out[str(path.relative_to(folder))] = file_hash(path)
    return out


def test_whole_study_on_a_scripted_student(study_file: StudyFile) -> None:
    loaded = pipeline.load(study_file())
    made = pipeline.run(loaded, quiet=True)
    assert made[0] == "problems"
    assert made[-1] == "report"
    report = pipeline.report_of(loaded)
    assert [arm.name for arm in report.arms] == ["standard", "few-shot", "trace-of-thought"]
    for arm in report.arms:
        assert arm.n == 16
        assert arm.correct == 16
        assert sum(arm.joint) == 16
        assert arm.trace_correct == 16
        assert arm.seconds >= 0
    assert report.peak_memory_bytes > 0
    assert report.comparisons[0].p == 1.0


def test_report_can_be_recounted_from_the_attempts(study_file: StudyFile) -> None:
    loaded = pipeline.load(study_file(students={"half": {"model": "scripted:tests.scripts:half"}}))
    pipeline.run(loaded, quiet=True)
    for arm in pipeline.report_of(loaded).arms:
        path = loaded.study.folder / "attempts" / f"{arm.name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert len({row["problem_id"] for row in rows}) == arm.n == 16
        answers = Counter(row["answer"]["outcome"] for row in rows)
        assert (answers["correct"], answers["missing"]) == (arm.correct, arm.missing)
        assert 0 < arm.correct < 16
        cells = Counter((row["trace"]["outcome"] == "correct", row["answer"]["outcome"] == "correct") for row in rows)
        assert arm.joint == (cells[True, True], cells[True, False], cells[False, True], cells[False, False])
        assert arm.tokens_out == sum(row["tokens_out"] for row in rows)


def test_second_run_does_nothing(study_file: StudyFile) -> None:
    loaded = pipeline.load(study_file())
    pipeline.run(loaded, quiet=True)
    assert all(state.kind == "complete" for _, state in pipeline.status(loaded))
    assert pipeline.run(loaded, quiet=True) == []


def test_only_what_changed_is_made_again(study_file: StudyFile) -> None:
    recipe = study_file()
    loaded = pipeline.load(recipe)
    pipeline.run(loaded, quiet=True)
    (loaded.study.folder / "traces" / "rules.jsonl").unlink()
    assert pipeline.run(loaded, quiet=True) == ["teach:rules"], "same traces again: nothing behind them runs"
    changed = pipeline.load(recipe, ["arms.few-shot.shots=1"])
    states = {node.name: state for node, state in pipeline.status(changed)}
    assert states["generate:few-shot"].reason == "arm.shots was 2, is 1"
    assert states["generate:standard"].kind == "complete"
    made = pipeline.run(changed, quiet=True)
    assert "generate:few-shot" in made
    assert "generate:standard" not in made


def test_an_arm_more_leaves_the_others_alone(study_file: StudyFile) -> None:
    pipeline.run(pipeline.load(study_file()), quiet=True)
    few = {"prompt": "few-shot", "shots": 2}
    arms = {"standard": {}, "few-shot": few, "chain-of-thought": {"prompt": "chain-of-thought"}}
    made = pipeline.run(pipeline.load(study_file(arms=arms)), quiet=True)
    assert [name for name in made if name.startswith("generate")] == ["generate:chain-of-thought"]


def test_stages_alone_make_what_they_need(study_file: StudyFile) -> None:
    loaded = pipeline.load(study_file())
    assert pipeline.run(loaded, "validate", quiet=True) == ["problems", "teach:rules", "validate:rules"]
    assert not (loaded.study.folder / "attempts").exists()


def test_edited_output_is_never_overwritten(study_file: StudyFile) -> None:
    loaded = pipeline.load(study_file())
    pipeline.run(loaded, quiet=True)
    path = loaded.study.folder / "traces" / "rules.jsonl"
    edited = path.read_text().replace("Question type", "Type of question", 1)
    path.write_text(edited)
    with pytest.raises(InputError, match=r"traces/rules.jsonl was changed after its stage wrote it; delete it"):
        pipeline.run(loaded, quiet=True)
    assert path.read_text() == edited


def test_run_folder_of_another_study(study_file: StudyFile, tmp_path: Path) -> None:
    pipeline.run(pipeline.load(study_file()), "teach", quiet=True)
    with pytest.raises(InputError, match=r"holds the run of study 'small', not of 'other'"):
        pipeline.run(pipeline.load(study_file(study="other")), quiet=True)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="is not empty and not a run folder"):
        pipeline.run(pipeline.load(study_file(run_dir=str(foreign))), quiet=True)
    assert [path.name for path in foreign.iterdir()] == ["thesis.tex"]


def test_run_folder_that_is_a_file(study_file: StudyFile, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="run_dir"):
        pipeline.run(pipeline.load(study_file(run_dir=str(tmp_path / "file"))), quiet=True)


def test_full_disk_is_one_clear_error(study_file: StudyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = pipeline.load(study_file())
    pipeline.run(loaded, "teach", quiet=True)

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(InputError, match=r"cannot write .*validate.*rules.*No space left on device"):
        pipeline.run(loaded, quiet=True)
    monkeypatch.undo()
    assert pipeline.run(loaded, "validate", quiet=True) == ["validate:rules"]


def test_two_runs_at_once_are_refused(study_file: StudyFile) -> None:
    loaded = pipeline.load(study_file())
    pipeline.run(loaded, "teach", quiet=True)
    code = (
        "import fcntl, sys, time; stream = open(sys.argv[1], 'a'); fcntl.flock(stream, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(loaded.study.folder / ".lock")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another tracedistill run is using this folder"):
            pipeline.run(loaded, quiet=True)
    finally:
        holder.kill()
        holder.communicate()


def test_killed_generation_goes_on_and_changes_nothing(study_file: StudyFile, tmp_path: Path) -> None:
    students = {"solver": {"model": "scripted:tests.scripts:killer"}}
    recipe = study_file(students=students)
    environment = {**os.environ, "KILL_MARK": str(tmp_path / "killed"), "KILL_COUNT": str(tmp_path / "calls")}
    command = [sys.executable, "-m", "tracedistill.cli", "run", str(recipe), "--quiet"]
    first = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=False)
    assert first.returncode == -signal.SIGKILL
    partial = tmp_path / "run" / "generations" / "standard.partial0.jsonl"
    assert len(partial.read_text().splitlines()) == 1 + 2, "a head and the two whole batches before the kill"
    with partial.open("a") as stream:
        stream.write('{"batch": 2, "attempts": [{"attempt')  # as a kill in the middle of a write leaves it
    subprocess.run(command, env=environment, cwd=ROOT, check=True)
    calls = int((tmp_path / "calls").read_text())
    assert calls == 3 * 16 + 4, "the four prompts of the broken batch were asked again, no other"
    killed = contents(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    subprocess.run(command, env=environment, cwd=ROOT, check=True)
    assert contents(tmp_path / "run") == killed


@pytest.mark.slow
def test_kills_at_any_moment(study_file: StudyFile, tmp_path: Path) -> None:
    """kill -9 after random times, again and again, then to the end: the same files as undisturbed."""
    recipe = study_file()
    command = [sys.executable, "-m", "tracedistill.cli", "run", str(recipe), "--quiet"]
    for pause in (0.25, 0.45, 0.6, 0.75, 0.9):
        process = subprocess.Popen(command, cwd=ROOT)
        time.sleep(pause)
        process.kill()
        process.wait()
    subprocess.run(command, cwd=ROOT, check=True)
    killed = contents(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    subprocess.run(command, cwd=ROOT, check=True)
    assert contents(tmp_path / "run") == killed
    assert not list((tmp_path / "run").rglob("*.partial*"))


def test_hostile_text_is_shown_as_text(study_file: StudyFile) -> None:
    students = {"rambler": {"model": "scripted:tests.scripts:rambler"}}
    loaded = pipeline.load(study_file(students=students, arms={"standard": {}}, comparisons=[]))
    pipeline.run(loaded, quiet=True)
    arm = pipeline.report_of(loaded).arms[0]
    assert (arm.n, arm.cut_off, arm.correct) == (16, 16, 0)
    html = (loaded.study.folder / "report.html").read_text()
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert html.count("</style>") == 1
    assert "\x00" not in html


def test_unknown_tuned_arm(study_file: StudyFile) -> None:
    loaded = pipeline.load(study_file())
    with pytest.raises(InputError, match="no such tuned arm"):
        worker.train(loaded, ["standard"], (0, 1), lambda: None)


def test_scripted_student_cannot_be_tuned(study_file: StudyFile) -> None:
    loaded = pipeline.load(study_file(arms={"tuned": {"tune": "correct"}}, comparisons=[]))
    with pytest.raises(InputError, match="a scripted student cannot be tuned"):
        pipeline.run(loaded, quiet=True)


@pytest.mark.parametrize(
    "arm", [{"tune": "none", "prompt": "few-shot"}, {"tune": "correct", "prompt": "trace-of-thought"}]
)
def test_a_tuned_arm_is_asked_as_it_was_trained(study_file: StudyFile, arm: dict[str, str]) -> None:
    with pytest.raises(InputError, match="a tuned arm is evaluated with the prompt it was trained"):
        pipeline.load(study_file(arms={"tuned": arm}, comparisons=[]))


def test_every_manifest_says_how_its_output_came_about(study_file: StudyFile) -> None:
    loaded = pipeline.load(study_file(seed=3))
    pipeline.run(loaded, quiet=True)
    manifests = [json.loads(path.read_text()) for path in loaded.study.folder.rglob("*.manifest.json")]
    assert len(manifests) == len(pipeline.status(loaded))
    for manifest in manifests:
        assert manifest["seed"] == 3
        assert manifest["recipe"]["arms"]["few-shot"]["shots"] == 2
        assert manifest["data"]["test"]["n"] == 16
        assert {"tracedistill", "python", "libraries", "seconds", "peak_memory_bytes"} <= manifest.keys()
    (engine,) = {json.dumps(manifest["engine"]) for manifest in manifests if "engine" in manifest}
    assert "scripted" in engine
