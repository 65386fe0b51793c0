"""Ways of learning beside imitation, on TRL's stable trainers: each with this project's prompts, draws and order.

| file | what it is |
|---|---|
| `order.py` | which problems a step has: those of the supervised arms |
| `writing.py` | completions drawn from a model in training, one generator per completion |
| `rollouts.py` | what the trainers that draw completions have in common |
| `grpo.py` | GRPO with the task's judges as reward |
| `on_policy.py` | distillation on the student's own completions, from another model or from itself shown more |
| `judging.py` | what the judges say of a completion |
| `sampling.py` | completions drawn once, before a training |
| `pairs.py` | DPO on pairs of completions |
| `starting.py` | an adapter to start from, and the frozen copy that it is held against |
| `curve.py` | greedy attempts at validation problems between steps, judged |
"""
