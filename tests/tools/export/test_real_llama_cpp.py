"""What loaders.py says of llama.cpp, held against its converter: TRACEDISTILL_LLAMA_CPP says how that is called.

`/envs/llama/bin/python /src/llama.cpp/convert_lora_to_gguf.py`; the sources lie in llama-cpp-python's sdist.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import architectures, tiny
from tracedistill.recipes import StudentConfig
from tracedistill.tools.export.loader_rules import loader_notes
from tracedistill.tools.export.weights import write_adapter

pytestmark = pytest.mark.slow

CASES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "plain": ("llama", {}, True),
    "rsLoRA": ("llama", {"use_rslora": True, "r": 8, "lora_alpha": 8}, True),
    "DoRA": ("llama", {"use_dora": True}, False),
    "a head tuned whole": ("llama", {"modules_to_save": ["lm_head"]}, False),
    "Qwen3": ("qwen3", {}, True),
    "Gemma 3": ("gemma3_text", {}, True),
}
"""Architecture, LoRA's settings, whether the converter takes it."""


@pytest.mark.parametrize(("architecture", "lora", "takes"), CASES.values(), ids=CASES)
def test_the_converter_does_as_is_said(architecture: str, lora: dict[str, Any], takes: bool, tmp_path: Path) -> None:
    command = os.environ.get("TRACEDISTILL_LLAMA_CPP")
    if not command:
        pytest.skip("no llama.cpp here: set TRACEDISTILL_LLAMA_CPP")
    model = architectures.build(architecture, tmp_path / "model")
    out = tmp_path / "out"
    out.mkdir()
    adapter = tiny.lora(model, tmp_path / "adapter", **lora)
    write_adapter(StudentConfig(str(model), dtype="float32"), "plain", adapter, out, 12)
    made = tmp_path / "lora.gguf"
    line = [*shlex.split(command), str(out), "--base", str(model), "--outtype", "f32", "--outfile", str(made)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is takes, done.stderr[-500:]
    assert (loader_notes(out)["llama.cpp"] == []) is takes
    assert not takes or made.exists()
