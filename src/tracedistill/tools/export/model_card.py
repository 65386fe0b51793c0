"""The card of an exported model: data, arms, scores, prompts, base model, effect of merging, what was not tested."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tracedistill.chat.formats import Format
from tracedistill.chat.templates import TODAY
from tracedistill.engines import Request
from tracedistill.tools.export.card import counted, fenced, page, percent, table
from tracedistill.tools.export.origin import arm_lines, source_lines, teacher_lines
from tracedistill.tools.open_study import OpenStudy

PACKAGED = "pypi:"
SAID = ("learning_rate", "epochs", "max_steps", "batch_size", "warmup", "scheduler", "weight_decay", "max_length")
LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_targets", "lora_rslora", "lora_dora", "lora_init")


def model_card(opened: OpenStudy, facts: Mapping[str, Any], first: Request | None) -> str:
    """Write the card; `first` is a prompt of the check, shown as the example."""
    base = facts["base"]["model"]
    merged = facts["weights"] != "adapter"
    head: dict[str, Any] = {
        "library_name": "transformers" if merged else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["tracedistill", "distillation", "safetensors", *([] if merged else ["lora"])],
    }
    hub = facts["base"]["hub"] or (base if _on_hub(base) else None)
    if hub is not None:
        head["base_model"] = hub
        head["base_model_relation"] = "finetune" if merged else "adapter"
    return page(head, _lines(opened, facts, first))


def _lines(opened: OpenStudy, facts: Mapping[str, Any], first: Request | None) -> Iterator[str]:
    study, arm, base = opened.study, facts["arm"], facts["base"]
    tuned = "all its weights" if facts["weights"] == "full" else "a LoRA adapter"
    form = {"merged": ", merged into the weights", "adapter": ", kept apart", "full": ""}[facts["weights"]]
    yield f"# {study.study}: arm {arm['name']}"
    yield ""
    yield (
        f"`{base['model']}` with {tuned} tuned on the rows of arm `{arm['name']}` of the study `{study.study}`{form}. "
        "Made by tracedistill; `manifest.json` has the whole recipe, the hash of every file and all figures below."
    )
    yield ""
    yield from _use(study.format, facts, first)
    yield from _programs(facts)
    yield from _parity(facts)
    yield from _scores(facts)
    yield "## Data"
    yield ""
    yield from source_lines(facts["source"])
    for teacher in facts["teachers"].values():
        yield from teacher_lines(opened, teacher)
    yield from arm_lines(arm)
    yield "## Training"
    yield ""
    training, counts = facts["training"], arm["assembly"]
    shown = SAID if training["method"] == "full" else (*SAID, *LORA)
    settings = ", ".join(f"{key} {training[key]}" for key in shown)
    four = ", on 4-bit (nf4) weights (QLoRA)" if base["quantization"] == "nf4" else ""
    yield from _method(facts["method"])
    yield (
        f"{counted(counts.get('rows', counts['traces']), 'row')}{_loss(facts['method'])}; {base['dtype']}{four}; "
        f"seed {facts['adapter_seed']}; {settings}."
    )
    yield ""
    yield "## Base model"
    yield ""
    at = f", commit `{base['revision']}`" if base["revision"] else ""
    yield f"`{base['model']}`{at}. Its licence and its limits apply to this model too."
    if base["sha256"]:
        yield f"Its files as they were tuned on have the SHA-256 `{base['sha256']}` (how: tracedistill's identity.py)."
    if base["model"].startswith(PACKAGED):
        along = " They are included in `base/`." if facts["weights"] == "adapter" else ""
        yield (
            "These are the weights of a Python package, dequantised from a 4-bit or similar file: not the same numbers "
            f"as `{base['hub']}` on the hub.{along}"
        )
    if base["chat_template"] == "recipe":
        yield "The chat template of the recipe takes the place of the tokenizer's own, here as in training."
    yield ""
    yield from _untested(facts)


def _method(method: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines about the method if it is not imitation from the base."""
    settings = ", ".join(f"{key} {value}" for key, value in method.items() if key not in ("method", "from"))
    if method["method"] != "sft":
        rows = "are the completions that were preferred" if method["method"] == "dpo" else "gave the prompts"
        yield f"Learnt by `{method['method']}`{f' ({settings})' if settings else ''}; the rows {rows}."
        yield ""
    if "from" in method:
        yield f"Training started from the adapter of the arm `{method['from']}`, which this one contains."
        yield ""


def _loss(method: Mapping[str, Any]) -> str:
    return ", loss on the completion alone" if method["method"] == "sft" else ""


def _use(format: Format, facts: Mapping[str, Any], first: Request | None) -> Iterator[str]:
    yield "## Use"
    yield ""
    prompt = facts["arm"]["prompt_text"]
    yield f"The prompt that it was tuned with (`{facts['arm']['prompt']}`; `{{problem}}` is context and question):"
    yield ""
    yield from fenced(prompt)
    system = facts["base"]["system"]
    yield f"System message: {json.dumps(system, ensure_ascii=False)}." if system else "No system message."
    yield ""
    if first is None:
        return
    messages = [{"role": turn.role, "content": turn.content} for turn in first.messages]
    yield from fenced("\n".join(_example(format, facts, messages)), "python")


def _example(format: Format, facts: Mapping[str, Any], messages: list[dict[str, str]]) -> Iterator[str]:
    base = facts["base"]["model"]
    if facts["weights"] == "adapter":
        yield "from peft import PeftModel"
        yield "from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig"
    else:
        yield "from transformers import AutoModelForCausalLM, AutoTokenizer"
    yield ""
    yield 'folder = "THIS FOLDER OR REPOSITORY"'
    yield "tokenizer = AutoTokenizer.from_pretrained(folder)"
    if facts["weights"] == "adapter":
        source = repr(base)
        if base.startswith(PACKAGED):
            source = 'folder, subfolder="base"'
        elif facts["base"]["revision"]:
            source = f"{facts['base']['hub']!r}, revision={facts['base']['revision']!r}"
        yield f'base = AutoModelForCausalLM.from_pretrained({source}, dtype="{facts["base"]["dtype"]}")'
        yield "model = PeftModel.from_pretrained(base, folder)"
        yield "model.generation_config = GenerationConfig.from_pretrained(folder)"
    else:
        yield 'model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")'
    yield "messages = ["
    for message in messages:
        yield f"    {message!r},"
    yield "]"
    yield "prompt = tokenizer.apply_chat_template("
    yield '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt",'
    yield f"    enable_thinking={format == 'reasoning'}, date_string={TODAY!r},"
    yield ")"
    yield 'written = model.generate(**prompt)[0, prompt["input_ids"].shape[1]:]'
    yield "print(tokenizer.decode(written, skip_special_tokens=True))"


def _programs(facts: Mapping[str, Any]) -> Iterator[str]:
    found, adapter = facts["opened_outside"], facts["weights"] == "adapter"
    what = "transformers and PEFT" if adapter else "transformers"
    yield "## Other programs"
    yield ""
    if found["n"]:
        yield (
            f"Opened by {what} alone: {found['equal']} of {found['n']} greedy texts are those of the study's engine "
            f"({found['dtype']})."
        )
    else:
        yield f"Not opened by {what} alone: {found.get('why', 'the study has no prompt to ask')}."
    for name, notes in facts["loaders"].items():
        advice = "; ".join(notes) if notes else "takes it as it is"
        yield f"- {name} (its loader's rules put to these files; it was not run): {advice}."
    if adapter:
        ends = "set the end tokens of `generation_config.json` there, which programs read from the base alone"
        yield f"- A server that is given a base and this adapter must be told where an answer ends: {ends}."
    else:
        yield "- vLLM and llama.cpp were not run. Tokenizer, processor and configuration are the base's files."
    yield ""


def _parity(facts: Mapping[str, Any]) -> Iterator[str]:
    found = facts["parity"]
    yield "## Merged against apart"
    yield ""
    if facts["weights"] == "full":
        yield "All weights were tuned; there was nothing to merge."
    elif found is None:
        yield "Not merged: this is the adapter as it was tuned and evaluated."
    else:
        yield (
            f"Greedy answers to {counted(found['n'], found['prompts']['role'] + ' prompt')} of the study, against "
            f"{found['against']}: {found['texts_changed']} texts and {found['verdicts_changed']} verdicts change "
            f"(allowed: a share of {found['limit']}). The log-probability of a written token drifts by "
            f"{found['mean_logit_drift']:.2g} nats on average and {found['largest_logit_drift']:.2g} at most, "
            f"over {found['places']} tokens."
        )
        if found["forced"]:
            yield ""
            yield "**Beyond the study's tolerance: exported on request.** The scores are not those of this model."
    yield ""


def _scores(facts: Mapping[str, Any]) -> Iterator[str]:
    found, name = facts["scores"], facts["arm"]["name"]
    yield "## Scores"
    yield ""
    if found is None:
        yield "None: the study has no report on this adapter yet."
        yield ""
        return
    run = found["run_with"]
    how = {"merged": "merged into the weights", "adapter": "kept apart"}.get(str(run["adapter"]), "as a whole model")
    yield (
        f"The study's report, on {counted(found['test_problems'], 'test problem')}; this arm was run in {run['dtype']}"
        f"{' on 4-bit weights' if run['quantization'] == 'nf4' else ''} on {run['device']}, its adapter {how}."
    )
    yield ""
    yield from table(
        ("arm", "n", "answer right", "95% interval", "missing", "cut off", "trace right"),
        [
            (
                f"{arm['name']} (this one)" if arm["name"] == name else arm["name"],
                arm["n"],
                percent(arm["correct"], arm["n"]),
                " to ".join(f"{100 * end:.1f}" for end in arm["interval"]),
                arm["missing"],
                arm["cut_off"],
                arm["trace_correct"] if arm.get("judges_traces", arm.get("writes_traces")) else None,
            )
            for arm in found["arms"]
        ],
    )
    if facts["adapters"] > 1:
        yield f"The row of a tuned arm counts the answers of its {facts['adapters']} adapters, of which this is one."
        yield ""
    for line in (*found["findings"], *found["limits"]):
        yield f"- {line}"
    yield ""


def _untested(facts: Mapping[str, Any]) -> Iterator[str]:
    task = facts["source"]["task"]
    yield "## What was not tested"
    yield ""
    yield f"- Anything but task `{task}` in the prompt above: other tasks, other wordings, other languages."
    yield "- Conversations: it was tuned and evaluated on single questions."
    yield "- Sampling: all figures are of greedy answers unless the table's study says otherwise."
    yield "- Answers of other programs than transformers, and other quantisations."
    yield "- Safety: responses to harmful, private or hostile input were not tested."
    yield "- The kind of trace as such: this is one adapter, and other seeds may differ."
    yield ""


def _on_hub(model: str) -> bool:
    return ":" not in model and model.count("/") == 1
