"""A faster SFTTrainer with the same loss and gradients, and the factory that sets it up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from accelerate import PartialState
from accelerate.utils import DistributedType, is_peft_model
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from tracedistill.engines.adapters import read_weights
from tracedistill.engines.lora import HALF, compute_in_base_dtype
from tracedistill.errors import InputError
from tracedistill.training.arguments import WarmUpMixin, on_cpu, shared_arguments
from tracedistill.training.batching import WINDOW, LikeLengthSampler
from tracedistill.training.collator import SupervisedCollator, row_dataset, row_lengths, with_fillers
from tracedistill.training.head import lighten_forward
from tracedistill.training.heldout import mean_loss
from tracedistill.training.kernels import attention_of, context_size, is_flash, use_liger
from tracedistill.training.packing import PackingCollator, check_isolation
from tracedistill.training.settings import TrainingSetup
from tracedistill.training.unpadded import leave_out_padding

WHOLE_WEIGHTS = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
"""Launch types in which every process holds all weights."""


class TraceTrainer(WarmUpMixin, SFTTrainer):
    """SFTTrainer with equal results and less work: logits only where supervised, no padding, bf16 LoRA."""

    control: Any  # of the base class, whose type is unknown here

    def __init__(
        self, *, settings: TrainingSetup, train_dataset: datasets.Dataset, unpadded: bool = False, **kwargs: Any
    ) -> None:
        """Take SFTTrainer's arguments, rows checked by `row_dataset`, and this project's settings.

        `unpadded`: the model computes attention row by row (`leave_out_padding`).
        """
        self.settings = settings
        self.train_rows_per_second = 0.0
        tokenizer = kwargs["processing_class"]
        # Complete last batches: else accelerate would train rows twice to give every process the same share.
        fillers = -len(train_dataset) % settings.training.batch_size
        shared = context_size()
        if PartialState().num_processes // shared * settings.training.gradient_accumulation == 1:
            fillers = 0
        self.sampler = LikeLengthSampler(
            row_lengths(train_dataset),
            settings.training.batch_size,
            fillers=fillers,
            window=WINDOW if settings.training.group_by_length else 1,
            seed=settings.seed,
        )
        pad = tokenizer.pad_token_id
        collator: PackingCollator | SupervisedCollator = SupervisedCollator(pad, 2 * shared if shared > 1 else 1)
        if unpadded or settings.training.packing:
            # without a mask over the sequence one takes all rows; else the mask is quadratic in the tokens
            whole = unpadded or is_flash(kwargs["model"])
            collator = PackingCollator(pad, 0 if whole else settings.training.max_length)
        super().__init__(
            train_dataset=with_fillers(train_dataset, fillers, pad),
            data_collator=collator,
            **kwargs,
        )
        self.add_callback(StepGuard(self.sampler, -(-len(self.sampler) // self.sampler.batch_size)))
        base = self.model.get_base_model() if is_peft_model(self.model) else self.model
        lighten_forward(base, drop_mask=_is_causal(self.model, base))
        if self.accelerator.distributed_type in WHOLE_WEIGHTS:
            hold_in_fp32(self.model)
        # FSDP and ZeRO gather weights when their own module is called, which these layers bypass.
        if self.accelerator.distributed_type in WHOLE_WEIGHTS:
            compute_in_base_dtype(self.model)

    def _get_train_sampler(self, train_dataset: Any = None) -> LikeLengthSampler:  # noqa: ARG002
        """Return the sampler created with the trainer, whose rows are the trainer's own."""
        return self.sampler

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, and record the speed."""
        result = super().train(*args, **kwargs)
        self.train_rows_per_second = float(result.metrics.get("train_samples_per_second", 0.0))
        return result

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: Any = None,  # noqa: ARG002 - of the base class
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Return the mean loss over these rows' supervised tokens without changing the training (see `heldout`)."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        metrics = {f"{metric_key_prefix}_loss": mean_loss(self, rows)}
        transformers.Trainer.log(self, metrics)  # TRL's would include the sums of the training steps
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class StepGuard(TrainerCallback):
    """Sets the sampler's epoch, and stops before a non-finite gradient reaches the weights."""

    def __init__(self, sampler: Any, steps_per_epoch: int) -> None:
        self.sampler = sampler
        self.steps_per_epoch = steps_per_epoch

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Set the epoch from the steps done: accelerate's wrappers lose it when several processes resume mid-epoch."""
        self.sampler.set_epoch(state.global_step // self.steps_per_epoch)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Log the last steps too if they are fewer than a logging interval."""
        control.should_log = control.should_log or state.global_step >= state.max_steps

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Raise InputError on a non-finite loss: a launch that shards gradients exposes them nowhere."""
        for key, words in (("loss", "loss"), ("eval_loss", "loss on the evaluation rows")):
            if logs and not math.isfinite(logs.get(key, 0.0)):
                raise InputError(_not_finite(words, state.global_step, args.output_dir))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Raise InputError on NaN or infinity, in every process alike (gradients are already synchronised)."""
        gradients = [parameter.grad for parameter in kwargs["model"].parameters() if parameter.grad is not None]
        if not bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients))):
            raise InputError(_not_finite("gradient", state.global_step + 1, args.output_dir))


def _not_finite(what: str, step: int, folder: str) -> str:
    return (
        f"training: the {what} is not finite at step {step}; the last checkpoint in {folder} is intact. "
        "A lower learning rate, more warm-up or fp32 (students.<name>.dtype: float32) may help. If it "
        "happens at step 1, "
        "check the base weights and the data"
    )


def load_student(
    source: Path | str,
    settings: TrainingSetup,
    *,
    revision: str | None = None,
    quantization_config: Any = None,
    full: bool = False,
) -> transformers.PreTrainedModel:
    """Load the base model with the requested precision and attention. Raises InputError if it cannot be loaded.

    `full` trains all weights: they are kept in fp32 and computed in bf16 by autocast.
    """
    cpu = on_cpu(settings)
    options: dict[str, Any] = {}
    if quantization_config is not None:
        options = {"quantization_config": quantization_config, "device_map": {"": "cpu"} if cpu else None}
    model = read_weights(
        str(source),
        revision,
        dtype=torch.bfloat16 if settings.bf16 and not full else torch.float32,
        attn_implementation=attention_of(settings.training.attention, str(source), on_cpu=cpu, half=settings.bf16),
        **options,
    )
    liger = use_liger(model, settings.training.liger, on_cpu=cpu)
    model.kernels = {"attention": model.config._attn_implementation, "liger": liger}
    return model


def gathered_weights(trainer: TraceTrainer) -> dict[str, torch.Tensor] | None:
    """Gather all trained weights if processes hold shards (FSDP, ZeRO-3); None if each holds all.

    Must be called by every process.
    """
    if trainer.accelerator.distributed_type in WHOLE_WEIGHTS:
        return None
    return dict(trainer.accelerator.get_state_dict(trainer.model_wrapped))


def hold_in_fp32(model: torch.nn.Module) -> None:
    """Keep trained weights in fp32. TRL rounds adapters of 4-bit bases to bf16, where small steps are lost.

    (A step of a thousandth of a weight is below bf16's resolution. Checkpoints are read back in fp32, so a resumed
    training would differ from an uninterrupted one.)
    """
    for weight in model.parameters():
        if weight.requires_grad and weight.dtype in HALF:
            weight.data = weight.data.float()


def build_trainer(
    model: Any,
    tokenizer: Any,
    train_rows: Iterable[Mapping[str, Any]] | datasets.Dataset,
    eval_rows: Iterable[Mapping[str, Any]] | datasets.Dataset | None,
    settings: TrainingSetup,
    *,
    peft_config: Any = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> TraceTrainer:
    """Build a trainer ready to `train()`; see the package's docstring for rows and errors."""
    training, cpu = settings.training, on_cpu(settings)
    processes = PartialState(cpu=cpu).num_processes // context_size()  # those with rows of their own
    share, rest = divmod(training.batch_size, processes * training.gradient_accumulation)
    if rest or not share:
        raise InputError(
            f"training: batch_size {training.batch_size} cannot be divided evenly among {processes} processes with "
            f"{training.gradient_accumulation} micro-batches each; make it a multiple of "
            f"{processes * training.gradient_accumulation}"
        )
    if tokenizer.pad_token_id is None:
        raise InputError("training: the tokenizer has no padding token")
    if context_size() > 1 and (training.packing or training.eval_steps):
        raise InputError(
            "training: context parallelism shares one row among processes; set training.packing: false and "
            "training.eval_steps: 0"
        )
    unpadded = cpu and _leaves_out_padding(model, peft_config)
    if training.packing and not unpadded:
        check_isolation(model)
    if model.base_model is model and hasattr(model, "model"):
        model.base_model_prefix = "model"  # Llama 4 declares one that exists only in its multimodal variant
    vocabulary = model.get_input_embeddings().num_embeddings
    if tokenizer.pad_token_id >= vocabulary:
        raise InputError(
            f"training: the tokenizer pads with '{tokenizer.pad_token}' (id {tokenizer.pad_token_id}), but the model "
            f"has embeddings for only {vocabulary} tokens; set pad_token in tokenizer_config.json to one of these"
        )
    train_dataset = row_dataset(train_rows, name="training", vocabulary=vocabulary)
    eval_dataset = None
    if eval_rows is not None and _is_quantised(model) and cpu:
        # bitsandbytes re-quantises the weights for inference, after which no gradient flows
        raise InputError("training: 4-bit weights on a CPU cannot be evaluated between steps; set eval_steps: 0")
    if eval_rows is not None:
        eval_dataset = row_dataset(eval_rows, name="evaluation", vocabulary=vocabulary)
    config = SFTConfig(
        **shared_arguments(settings, model, per_device=share, evaluates=eval_dataset is not None),
        max_length=None,
        completion_only_loss=True,
        dataset_kwargs={"skip_prepare_dataset": True},  # rows are checked and labelled here, never cut
    )
    trainer = TraceTrainer(
        settings=settings,
        unpadded=unpadded,
        model=model,
        args=config,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)  # it would print a dictionary for every logged step
    return trainer


def _leaves_out_padding(model: Any, peft_config: Any) -> bool:
    """Return whether batches on a CPU have no padding, and note it for training.json.

    Nothing is tried if processes share a row or the weights, if evaluation mode would change them (4-bit and 8-bit), or
    if an adapter puts tokens of its own before a row.
    """
    adapters = [*(model.peft_config.values() if is_peft_model(model) else ()), *filter(None, [peft_config])]
    shared = context_size() > 1 or PartialState().distributed_type not in WHOLE_WEIGHTS
    if shared or _is_quantised(model) or any(adapter.is_prompt_learning for adapter in adapters):
        return False
    reason = leave_out_padding(model)
    model.kernels = {**getattr(model, "kernels", {}), "padding": reason or "none"}
    return not reason


def _is_quantised(model: Any) -> bool:
    return bool(getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False))


def _is_causal(model: Any, base: Any) -> bool:
    """Return whether the model is causal, so that padding on the right needs no mask."""
    prompt_learning = is_peft_model(model) and any(config.is_prompt_learning for config in model.peft_config.values())
    return not prompt_learning and not getattr(base.config.get_text_config(), "use_bidirectional_attention", False)
