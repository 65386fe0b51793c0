"""What a student is trained on is what it sees at inference, for every family's own template and every format."""

from __future__ import annotations

import copy
import itertools
from typing import get_args

import pytest

from tests.families import BROKEN, FAMILIES, FOLDER, tokenizer
from tracedistill.chat.formats import Format, parse_completion, prefill_text, split_reasoning, write_completion
from tracedistill.chat.rendering import (
    completion_text,
    difference,
    prompt_ids,
    prompt_template,
    read_completion,
    render_example,
)
from tracedistill.chat.templates import end_id, knows_reasoning, system_in_user_turn, writes_the_day
from tracedistill.errors import InputError
from tracedistill.records import Example, Message
from tracedistill.sft.preflight import preflight

STYLES: tuple[Format, ...] = get_args(Format)
TRACE, ANSWER = "Question type: counting.\nMary took the apple.", "one"
USER = Message("user", "How many apples does Mary have?")
SYSTEM = Message("system", "Be brief.")
GOOD = [(name, format) for name in FAMILIES for format in STYLES if format not in FAMILIES[name].refused]
REFUSED = [(name, format) for name in FAMILIES for format in FAMILIES[name].refused]


def example(format: Format, trace: str | None = TRACE, prompt: tuple[Message, ...] = (USER,)) -> Example:
    return Example("p", "a", prompt, write_completion(trace, ANSWER, format), answer=ANSWER)


def written(name: str, row: Example, format: Format) -> str:
    """What the loss is taken on, decoded."""
    made = render_example(tokenizer(name), row, format)
    start = made.completion_mask.index(1)
    assert all(made.completion_mask[start:])
    return str(tokenizer(name).decode(made.input_ids[start:]))


def test_every_template_file_is_a_family() -> None:
    assert {path.stem for path in FOLDER.glob("*.jinja")} == set(FAMILIES)


@pytest.mark.parametrize("trace", [TRACE, "", None], ids=["trace", "empty trace", "answer only"])
@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize(
    ("name", "format", "system"),
    [(name, format, system) for name, format in GOOD for system in sorted({False, FAMILIES[name].system})],
)
def test_the_row_is_prompt_completion_end_as_the_template_writes_them(
    name: str, format: Format, system: bool, shots: int, trace: str | None
) -> None:
    turns = [Message("user", "q"), Message("assistant", write_completion(None, "two", format))] * shots
    prompt = (*([SYSTEM] if system else []), *turns, USER)
    row = example(format, trace, prompt)
    found = preflight(tokenizer(name), [row], 4096, "error", "a", format)
    assert found.rows == 1
    ids = render_example(tokenizer(name), row, format).input_ids
    asked = prompt_ids(tokenizer(name), prompt, format=format)
    assert ids[: len(asked)] == asked
    assert difference(tokenizer(name), row, format) == ""
    text = tokenizer(name).decode(ids)
    end = f"{FAMILIES[name].trail}{FAMILIES[name].end}"
    assert text.endswith(f"Answer: {ANSWER}{end}" if format != "tags" else end)
    assert ids.count(end_id(tokenizer(name))) == asked.count(end_id(tokenizer(name))) + 1


@pytest.mark.parametrize(("name", "format"), GOOD)
def test_what_the_student_is_taught_to_write_can_be_read(name: str, format: Format) -> None:
    """Through the same text that the engine gives: gpt-oss's and Gemma 4's channels are special tokens."""
    for trace in (TRACE, None):
        row = render_example(tokenizer(name), example(format, trace), format)
        start = row.completion_mask.index(1)
        parts = parse_completion(read_completion(tokenizer(name), row.input_ids[start:], format))
        assert (parts.trace, parts.answer) == (trace, ANSWER)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_prompt_opens_the_assistants_turn(name: str) -> None:
    text = tokenizer(name).decode(prompt_ids(tokenizer(name), (USER,)))
    assert text.endswith(FAMILIES[name].opens)
    assert tokenizer(name).convert_ids_to_tokens(end_id(tokenizer(name))) == FAMILIES[name].end


@pytest.mark.parametrize(("name", "format"), REFUSED)
def test_a_format_that_the_family_cannot_write_is_refused(name: str, format: Format) -> None:
    for trace in (TRACE, None):
        if format == "tags" and trace is None:
            continue  # no thinking, nothing to drop
        with pytest.raises(InputError, match=FAMILIES[name].refused[format]):
            preflight(tokenizer(name), [example(format, trace)], 4096, "error", "a", format)


def test_families_that_keep_reasoning_apart() -> None:
    known = {name for name in FAMILIES if knows_reasoning(tokenizer(name))}
    assert known == {"qwen3", "qwen3_5_think", "deepseek_r1_distill", "gptoss", "gemma4"}


def test_tags_on_a_template_that_reads_them_names_the_remedy() -> None:
    with pytest.raises(InputError, match=rf"{BROKEN}.*format: reasoning"):
        preflight(tokenizer("qwen3"), [example("tags")], 4096, "error", "a", "tags")


# ---- Qwen3, with thinking and without


def test_thinking_and_not_thinking() -> None:
    head = "<|im_start|>assistant\n"
    asked = {
        format: tokenizer("qwen3").decode(prompt_ids(tokenizer("qwen3"), (USER,), format=format)) for format in STYLES
    }
    assert asked["reasoning"].endswith(head)
    assert asked["plain"].endswith(f"{head}<think>\n\n</think>\n\n")
    assert written("qwen3", example("reasoning"), "reasoning") == (
        f"<think>\n{TRACE}\n</think>\n\nAnswer: {ANSWER}<|im_end|>"
    )
    # without a trace the prompt is the same: arms differ in the completion alone
    assert written("qwen3", example("reasoning", None), "reasoning") == (
        f"<think>\n\n</think>\n\nAnswer: {ANSWER}<|im_end|>"
    )
    assert written("qwen3", example("plain"), "plain") == f"{TRACE}\nAnswer: {ANSWER}<|im_end|>"


def test_a_family_whose_prompt_opens_the_thinking() -> None:
    asked = tokenizer("qwen3_5_think").decode(prompt_ids(tokenizer("qwen3_5_think"), (USER,), format="reasoning"))
    assert asked.endswith("<|im_start|>assistant\n<think>\n")
    text = written("qwen3_5_think", example("reasoning"), "reasoning")
    assert text == f"{TRACE}\n</think>\n\nAnswer: {ANSWER}<|im_end|>"
    assert parse_completion(text.removesuffix("<|im_end|>")).trace == TRACE


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_think"])
def test_a_forced_trace_is_the_beginning_of_the_row(name: str) -> None:
    row = render_example(tokenizer(name), example("reasoning"), "reasoning")
    forced = prompt_ids(tokenizer(name), (USER,), prefill_text(TRACE, "reasoning"), "reasoning")
    assert row.input_ids[: len(forced)] == forced
    assert tokenizer(name).decode(forced).endswith("</think>\n\nAnswer:")


def test_thinking_of_earlier_turns_that_the_template_drops_is_told() -> None:
    shots = (Message("user", "q"), Message("assistant", write_completion("Step one.", "two", "reasoning")), USER)
    with pytest.raises(InputError, match=r"omits part of the assistant message.*shots_with_traces"):
        prompt_ids(tokenizer("qwen3"), shots, format="reasoning")
    tagged = (Message("user", "q"), Message("assistant", write_completion("Step one.", "two", "tags")), USER)
    with pytest.raises(InputError, match="omits part of the assistant message"):
        prompt_ids(tokenizer("qwen3"), tagged, format="tags")
    prompt_ids(tokenizer("smollm2"), tagged, format="tags")


INDENTED = {"code": "    return x\nelse:\n    return y", "a tab": "\tx = 3\n\ty = 4", "a wide blank": "\u3000x = 3"}


@pytest.mark.parametrize("trace", INDENTED.values(), ids=INDENTED)
@pytest.mark.parametrize(("name", "format"), GOOD)
def test_the_first_lines_indentation_is_the_teachers(name: str, format: Format, trace: str) -> None:
    """Llama-3.2, Qwen3.5 and others strip what the assistant says; the student learns all of it."""
    row = example(format, trace)
    assert trace in written(name, row, format)
    assert preflight(tokenizer(name), [row], 4096, "error", "a", format).refused == ()


# ---- white space and thinking that a template leaves to its user


@pytest.mark.parametrize("name", FAMILIES)
def test_white_space_around_the_words_is_the_templates(name: str) -> None:
    family = FAMILIES[name]
    text = written(name, example("plain"), "plain")
    assert text == f"{family.lead}{TRACE}\nAnswer: {ANSWER}{family.trail}{family.end}"
    begun_with = tokenizer(name).decode(prompt_ids(tokenizer(name), (USER,), prefill_text(TRACE)))
    assert begun_with.endswith(f"{family.lead}{TRACE}\nAnswer:"), "nothing stands behind a forced beginning"


def test_a_prompt_that_opens_thinking_which_the_template_drops() -> None:
    name = "deepseek_r1_distill"
    asked = {format: tokenizer(name).decode(prompt_ids(tokenizer(name), (USER,), format=format)) for format in STYLES}
    assert asked["reasoning"].endswith("<｜Assistant｜><think>\n")
    assert asked["plain"].endswith("<｜Assistant｜><think>\n\n</think>\n\n")
    text = written(name, example("reasoning"), "reasoning")
    assert text == f"{TRACE}\n</think>\n\nAnswer: {ANSWER}<｜end▁of▁sentence｜>"


@pytest.mark.parametrize(("name", "format"), GOOD)
def test_other_programs_ask_the_same_with_the_exported_template(name: str, format: Format) -> None:
    own = copy.deepcopy(tokenizer(name))
    own.chat_template = prompt_template(tokenizer(name), format)
    options = {"enable_thinking": format == "reasoning", "date_string": "26 Jul 2024"}
    chat = [{"role": "user", "content": USER.content}]
    ids = own.apply_chat_template(chat, add_generation_prompt=True, return_dict=False, **options)
    assert ids == prompt_ids(tokenizer(name), (USER,), format=format)


TURN = "<|im_start|>{{ m.role }}\n%s<|im_end|>\n"
CHANGING = {
    "takes parts instead of text": (TURN % "{% for part in m.content %}{{ part.text }}{% endfor %}", "omits part"),
    "escapes HTML": (TURN % "{{ m.content | e }}", "omits part of the user message .* or changes it"),
    "removes blank lines": (TURN % "{{ m.content.replace('\n\n', '\n') }}", "omits part"),
    "writes JSON": (TURN % "{{ m.content | tojson }}", "omits part"),
    "changes the assistant's words": (
        TURN % "{{ m.content | upper if m.role == 'assistant' else m.content }}", BROKEN,
    ),
    "wants tools": ("{{ raise_exception('no tools') }}" + TURN % "{{ m.content }}", "rejects these messages: no tools"),
}  # fmt: skip


@pytest.mark.parametrize(("turn", "why"), CHANGING.values(), ids=CHANGING)
@pytest.mark.parametrize("system", [False, True])
def test_a_template_that_changes_what_is_said_names_the_way_out(turn: str, why: str, system: bool) -> None:
    own = copy.deepcopy(tokenizer("chatml"))
    prompt = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    own.chat_template = "{% for m in messages %}" + turn + "{% endfor %}" + prompt
    asked = Message("user", 'How many\n\nof "these" <x>?')
    row = example("plain", prompt=(SYSTEM, asked) if system else (asked,))
    with pytest.raises(InputError, match=rf"(?s){why}.*students\.<name>\.chat_template replaces it"):
        preflight(own, [row], 4096, "error", "a")


# ---- system messages, days, injected tokens


@pytest.mark.parametrize("name", [name for name, each in FAMILIES.items() if not each.system])
def test_a_family_without_a_system_role_names_the_remedy(name: str) -> None:
    with pytest.raises(InputError, match=r"no place for a system message; .*system_role: user"):
        prompt_ids(tokenizer(name), (SYSTEM, USER))
    merged = system_in_user_turn((SYSTEM, USER))
    assert merged == (Message("user", f"Be brief.\n\n{USER.content}"),)
    assert "Be brief." in tokenizer(name).decode(prompt_ids(tokenizer(name), merged))
    assert preflight(tokenizer(name), [example("plain", prompt=merged)], 4096, "error", "a").rows == 1


def test_without_a_system_message_nothing_is_merged() -> None:
    assert system_in_user_turn((USER,)) == (USER,)
    assert system_in_user_turn(()) == ()


def test_the_day_does_not_count() -> None:
    assert "Today Date: 26 Jul 2024\n" in tokenizer("llama3_2").decode(prompt_ids(tokenizer("llama3_2"), (USER,)))
    assert "Current date: 2024-07-26\n" in tokenizer("gptoss").decode(prompt_ids(tokenizer("gptoss"), (USER,)))
    assert not any(writes_the_day(tokenizer(name)) for name in FAMILIES)


DAYS = {
    "SmolLM3": ('{%- set today = strftime_now("%d %B %Y") -%}Today Date: {{ today }}\n', "Today Date: 26 July 2024\n"),
    "two forms": ("{{ strftime_now('%Y') }} {{ strftime_now( '%d' ) }} ", "2024 26 "),
    "where it is defined": ("{% if strftime_now is defined %}{{ strftime_now('%A') }}{% endif %}", "Friday"),
    "inside a macro": ("{% macro day() %}{{ strftime_now('%m') }}{% endmacro %}{{ day() }}", "07"),
}


@pytest.mark.parametrize(("head", "said"), DAYS.values(), ids=DAYS)
def test_a_template_that_adds_the_day_adds_the_same_one_always(head: str, said: str) -> None:
    own = copy.deepcopy(tokenizer("chatml"))
    own.chat_template = head + own.chat_template
    assert own.decode(prompt_ids(own, (USER,))).startswith(f"{said}<|im_start|>")
    assert not writes_the_day(own)
    elsewhere = own.apply_chat_template(
        [{"role": "user", "content": USER.content}],
        chat_template=prompt_template(own),
        add_generation_prompt=True,
        return_dict=False,
    )
    assert elsewhere == prompt_ids(own, (USER,))


def test_a_day_that_cannot_be_fixed_is_told() -> None:
    own = copy.deepcopy(tokenizer("chatml"))
    own.chat_template = "{% set form = '%d' %}{{ strftime_now(form) }}" + own.chat_template
    assert writes_the_day(own)
    assert preflight(own, [example("plain")], 4096, "error", "a").shown[0][0] == "note"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_story_cannot_end_the_users_turn(name: str) -> None:
    plain = prompt_ids(tokenizer(name), (USER,))
    loud = prompt_ids(tokenizer(name), (Message("user", f"x{FAMILIES[name].end}{FAMILIES[name].opens}y"),))
    for token in (FAMILIES[name].eos, FAMILIES[name].end, *FAMILIES[name].special):
        known = tokenizer(name).convert_tokens_to_ids(token)
        assert loud.count(known) == plain.count(known), token


@pytest.mark.parametrize(("trace", "answer"), list(itertools.product(["", "t", "a\nb"], ["x", "1 2\n3"])))
def test_apart_undoes_join(trace: str, answer: str) -> None:
    found = split_reasoning(write_completion(trace, answer, "reasoning"))
    assert found is not None
    assert found[0] == trace
    assert parse_completion(found[1]).answer == answer
    assert split_reasoning(write_completion(trace, answer, "plain")) is None
    assert split_reasoning(write_completion(trace, answer, "tags")) is None


def test_completions_of_other_formats_are_written_as_they_are() -> None:
    for format in ("plain", "tags"):
        assert completion_text(tokenizer("qwen3"), (USER,), " odd \n", format) == " odd \n"
