"""The recipes that ship with Gemma students, run on a tiny random one: texts in batches are those of prompts alone.

Gemma 3 looks back over a window in five layers of six; what a batch pads must not count in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import architectures, families
from tests.conftest import DATA
from tests.engines.test_local import run
from tests.recipes.test_full_recipes import NO_DATA, RECIPES, data_of
from tests.tuned_study import tune
from tracedistill import pipeline
from tracedistill.engines import Request
from tracedistill.files import read_lines
from tracedistill.pipeline.evaluate import Evaluation
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun

STUDENT = "gemma-3-270m"
WINDOW = 128
"""Of the tiny model; the real ones have 512. A byte is a token here, so that every prompt passes it."""
GEMMA = [name for name, path in RECIPES.items() if STUDENT in pipeline.load(path).study.students]
FEW = (
    "task.train=8", "task.validation=2", "task.test=5", "base.max_tokens=8", f"base.student={STUDENT}",
    "training.seeds=1", "training.max_length=16000", "training.accelerate_config=cpu", "validation.keep=all",
    "evaluation.cut_off=allow", "evaluation.merge=never", "budget.usd=null",
    f"students.{STUDENT}.quantization=none", f"students.{STUDENT}.dtype=float32",
)  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no data sets in {DATA}"),
    # PEFT asks transformers by a name that is on its way out
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]


def teacher(request: Request) -> str:
    """A plan, or a plan that is carried out."""
    plan = "1. Find the two numbers.\n2. Multiply them."
    return f"{plan}\n3 * {request.seed + 2} = {3 * (request.seed + 2)}\nAnswer: {3 * (request.seed + 2)}"


def small(name: str, place: Path, model: Path) -> pipeline.LoadedStudy:
    """The recipe on few problems, with the tiny student in Gemma's place and a script in its teachers'."""
    recipe = pipeline.load(RECIPES[name]).study
    asked = [teacher for teacher, config in recipe.teachers.items() if config.kind == "model"]
    changes = [f"students.{STUDENT}.model={model}", f"run_dir={place / 'run'}", f"cache={place / 'cache.sqlite'}"]
    for each in asked:
        changes += [f"teachers.{each}.model=scripted:{__name__}:teacher", f"teachers.{each}.base_url=null"]
    changes += NO_DATA.get(name) or [f"task.data_dir={data_of(name, place)}"]
    return pipeline.load(RECIPES[name], [*FEW, *changes])


@pytest.mark.parametrize("name", GEMMA)
def test_every_arm_writes_in_batches_what_it_writes_alone(name: str, tmp_path: Path) -> None:
    from tracedistill.engines.local import LocalEngine

    model = architectures.build(
        "gemma3_text",
        tmp_path / "model",
        words=families.tokenizer("gemma3"),
        sliding_window=WINDOW,
        max_position_embeddings=16384,
    )
    loaded = tune(small(name, tmp_path, model))  # what an adapter learnt is no matter here: random ones
    pipeline.run(loaded, quiet=True)
    study, work = loaded.study, StudyRun(loaded, Screen(quiet=True))
    assert len(study.arms) == len({arm.partition("@")[0] for arm in pipeline.load(RECIPES[name]).study.arms})
    engine: Any = LocalEngine.load(str(model), "float32", format=study.format)
    longest, tuned = 0, set()
    for arm in study.arms:
        owner = study.adapter_of(arm)
        engine.set_adapter(None if owner is None else study.folder / "adapters" / owner, merge=False)
        requests = Evaluation(work).requests_of(arm, work.problems("test")).requests
        assert len(requests) == 5
        alone = {key: text for each in requests for key, (text, *_) in run(engine, [each]).items()}
        rows = [row for _, row in read_lines(study.folder / "generations" / f"{arm}.jsonl")]
        assert study.evaluation.batch_size >= len(rows) == 5
        assert {f"{row['problem_id']}/{row.get('sample', 0)}": row["text"] for row in rows} == alone, arm
        longest = max(longest, *(int(row["tokens_in"]) for row in rows))
        tuned.add(owner)
    assert len(tuned) > 1
    assert longest > WINDOW
