"""The card of an exported model: use, effect of merging, scores, data, training, base model, what was not tested."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tracedistill.chat.formats import Format
from tracedistill.chat.templates import TODAY
from tracedistill.engines import Request
from tracedistill.tools.export.card import bullets, counted, fenced, page, percent, table
from tracedistill.tools.export.origin import arm_blocks, source_blocks, teacher_blocks
from tracedistill.tools.open_study import OpenStudy

PACKAGED = "pypi:"
SETTINGS = ("learning_rate", "epochs", "max_steps", "batch_size", "warmup", "scheduler", "weight_decay", "max_length")
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
    return page(head, _blocks(opened, facts, first))


def _blocks(opened: OpenStudy, facts: Mapping[str, Any], first: Request | None) -> Iterator[str]:
    study, arm, base = opened.study, facts["arm"], facts["base"]
    tuned = "all its weights" if facts["weights"] == "full" else "a LoRA adapter"
    form = {"merged": ", merged into the weights", "adapter": ", kept separate", "full": ""}[facts["weights"]]
    yield f"# {study.study}: arm {arm['name']}"
    yield (
        f"`{base['model']}` with {tuned} tuned on the rows of arm `{arm['name']}` of the study `{study.study}`{form}. "
        "Made by tracedistill; `manifest.json` has the whole recipe, the hash of every file and all figures below."
    )
    yield from _use(study.format, facts, first)
    yield from _programs(facts)
    yield from _parity(facts)
    yield from _scores(facts)
    yield "## Data"
    yield from source_blocks(facts["source"])
    for teacher in facts["teachers"].values():
        yield from teacher_blocks(opened, teacher)
    yield from arm_blocks(arm)
    yield from _training(facts)
    yield "## Base model"
    at = f", commit `{base['revision']}`" if base["revision"] else ""
    yield f"`{base['model']}`{at}. Its licence and its limits apply to this model too."
    if base["sha256"]:
        yield f"The SHA-256 of its files as tuned is `{base['sha256']}` (computed as in tracedistill's identity.py)."
    if base["model"].startswith(PACKAGED):
        along = " They are included in `base/`." if facts["weights"] == "adapter" else ""
        yield (
            "These are the weights of a Python package, dequantised from a 4-bit or similar file: not the same numbers "
            f"as `{base['hub']}` on the hub.{along}"
        )
    if base["chat_template"] == "recipe":
        yield "The recipe's chat template replaces the tokenizer's own, here as in training."
    yield "## What was not tested"
    yield bullets(
        (
            f"Anything but task `{facts['source']['task']}` in the prompt above: other tasks, wordings or languages.",
            "Conversations: it was tuned and evaluated on single questions.",
            "Sampling: all figures are of greedy answers unless the table's study says otherwise.",
            "Answers of programs other than transformers, and other quantisations.",
            "Safety: responses to harmful, private or hostile input were not tested.",
            "The kind of trace as such: this is one adapter, and other seeds may differ.",
        )
    )


def _training(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the method, unless it is imitation from the base, then rows and settings."""
    training, counts, method = facts["training"], facts["arm"]["assembly"], facts["method"]
    yield "## Training"
    loss = ", loss on the completion alone"
    if method["method"] != "sft":
        own = ", ".join(f"{key} {value}" for key, value in method.items() if key not in ("method", "from"))
        rows = "are the completions that were preferred" if method["method"] == "dpo" else "gave the prompts"
        yield f"Trained by `{method['method']}`{f' ({own})' if own else ''}; the rows {rows}."
        loss = ""
    if "from" in method:
        yield f"Training started from the adapter of the arm `{method['from']}`, which this one contains."
    shown = SETTINGS if training["method"] == "full" else (*SETTINGS, *LORA)
    settings = ", ".join(f"{key} {training[key]}" for key in shown)
    four = ", on 4-bit (nf4) weights (QLoRA)" if facts["base"]["quantization"] == "nf4" else ""
    yield (
        f"{counted(counts.get('rows', counts['traces']), 'row')}{loss}; {facts['base']['dtype']}{four}; "
        f"seed {facts['adapter_seed']}; {settings}."
    )


def _use(format: Format, facts: Mapping[str, Any], first: Request | None) -> Iterator[str]:
    yield "## Use"
    yield f"The prompt that it was tuned with (`{facts['arm']['prompt']}`; `{{problem}}` is context and question):"
    yield fenced(facts["arm"]["prompt_text"])
    system = facts["base"]["system"]
    yield f"System message: {json.dumps(system, ensure_ascii=False)}." if system else "No system message."
    if first is not None:
        messages = [{"role": turn.role, "content": turn.content} for turn in first.messages]
        yield fenced("\n".join(_example(format, facts, messages)), "python")


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
    check, adapter = facts["opened_outside"], facts["weights"] == "adapter"
    libraries = "transformers and PEFT" if adapter else "transformers"
    yield "## Other programs"
    if check["n"]:
        yield (
            f"Opened by {libraries} alone: {check['equal']} of {check['n']} greedy texts equal those of the study's "
            f"engine ({check['dtype']})."
        )
    else:
        yield f"Not opened by {libraries} alone: {check.get('why', 'the study has no prompt to try')}."
    notes = [
        f"{name} (its loader's rules applied to these files; it was not run): {'; '.join(remarks) or 'accepted as is'}."
        for name, remarks in facts["loaders"].items()
    ]
    if adapter:
        notes.append(
            "A server that is given a base and this adapter must be configured with the end of an answer: set the end "
            "tokens of `generation_config.json` there, since programs read them from the base alone."
        )
    else:
        notes.append("vLLM and llama.cpp were not run. Tokenizer, processor and configuration are the base's files.")
    yield bullets(notes)


def _parity(facts: Mapping[str, Any]) -> Iterator[str]:
    parity = facts["parity"]
    yield "## Merged against separate adapter"
    if facts["weights"] == "full":
        yield "All weights were tuned, so there was nothing to merge."
    elif parity is None:
        yield "Not merged: this is the adapter as it was tuned and evaluated."
    else:
        yield (
            f"Greedy answers to {counted(parity['n'], parity['prompts']['role'] + ' prompt')} of the study, compared "
            f"with {parity['against']}: {parity['texts_changed']} texts and {parity['verdicts_changed']} verdicts "
            f"change (allowed: a share of {parity['limit']}). The log-probability of a written token drifts by "
            f"{parity['mean_logit_drift']:.2g} nats on average and {parity['largest_logit_drift']:.2g} at most, "
            f"over {parity['places']} tokens."
        )
        if parity["forced"]:
            yield "**Beyond the study's tolerance: exported on request.** The scores are not those of this model."


def _scores(facts: Mapping[str, Any]) -> Iterator[str]:
    scores, name = facts["scores"], facts["arm"]["name"]
    yield "## Scores"
    if scores is None:
        yield "None: the study has no report on this adapter yet."
        return
    run = scores["run_with"]
    how = {"merged": "merged into the weights", "adapter": "kept separate"}.get(str(run["adapter"]), "as a whole model")
    yield (
        f"From the study's report, on {counted(scores['test_problems'], 'test problem')}. This arm was run in "
        f"{run['dtype']}{' on 4-bit weights' if run['quantization'] == 'nf4' else ''} on {run['device']}, its adapter "
        f"{how}."
    )
    yield table(
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
            for arm in scores["arms"]
        ],
    )
    if facts["adapters"] > 1:
        yield f"The row of a tuned arm counts the answers of its {facts['adapters']} adapters, of which this is one."
    yield bullets((*scores["findings"], *scores["limits"]))


def _on_hub(model: str) -> bool:
    return ":" not in model and model.count("/") == 1
