"""Names and kinds of nodes: one table, one function to write a name and one to read it."""

from __future__ import annotations

from typing import get_args

import pytest

from tracedistill.cli.stages import STAGES as COMMANDS
from tracedistill.pipeline.graph import STAGE_OF, STAGES, Kind
from tracedistill.recipes import arm_of_run, run_name
from tracedistill.records import node_name, split_node_name


def test_every_kind_has_a_stage_that_a_command_makes() -> None:
    assert tuple(STAGE_OF) == get_args(Kind)
    assert set(STAGES) - {"problems", "report"} == set(COMMANDS) - {"run"}
    assert STAGES == ("problems", "teach", "validate", "assemble", "train", "evaluate", "report")


@pytest.mark.parametrize("name", ["correct", "llama-3.2", "my.seedling", "seed1", "a@b+c", ".seed1"])
@pytest.mark.parametrize("seed", [0, 1, 12])
def test_an_arm_is_read_out_of_its_run_and_node(name: str, seed: int) -> None:
    kind, run = split_node_name(node_name("train", run_name(name, seed)))
    assert (kind, arm_of_run(run)) == ("train", name)


def test_a_node_of_the_whole_study() -> None:
    assert split_node_name(node_name("problems")) == ("problems", "")
