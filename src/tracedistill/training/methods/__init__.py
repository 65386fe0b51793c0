"""Training methods other than imitation, on TRL's stable trainers, with this project's prompts, draws and order.

| file | what it is |
|---|---|
| `grpo.py` | GRPO with the task's judges as reward |
| `on_policy.py` | distillation on the student's own completions, from another model or from itself |
| `dpo.py` | DPO on pairs of completions |
| `rollouts.py` | the common part of trainers that draw completions |
| `writer.py` | draws completions from a model in training, with one generator per completion |
| `draws.py` | completions drawn once, before a training |
| `order.py` | the problems of each step, as in the supervised arms |
| `verdicts.py` | judged completions |
| `reference.py` | an adapter to start from, and its frozen copy |
| `curve.py` | greedy, judged attempts at validation problems between steps |
"""
