"""Open an exported folder with transformers and PEFT alone, as any user would, and print its output.

python outside.py QUESTIONS.json: {"folder", "base" (null: the folder is a whole model), "dtype", "chats", "options"}
"""

import json
import sys


def main(path: str) -> None:
    """Print the texts as a JSON list."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    with open(path, encoding="utf-8") as stream:  # noqa: PTH123 - as short as in anybody's script
        job = json.load(stream)
    tokenizer = AutoTokenizer.from_pretrained(job["folder"])
    if job["base"] is None:
        model = AutoModelForCausalLM.from_pretrained(job["folder"], dtype="auto")
    else:
        from peft import PeftModel

        base = AutoModelForCausalLM.from_pretrained(job["base"], dtype=job["dtype"])
        model = PeftModel.from_pretrained(base, job["folder"])
        model.generation_config = GenerationConfig.from_pretrained(job["folder"])
    model.eval()
    texts = []
    for chat in job["chats"]:
        prompt = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_dict=True, return_tensors="pt", **job["options"]
        )
        with torch.inference_mode():
            written = model.generate(**prompt)[0, prompt["input_ids"].shape[1] :]
        texts.append(tokenizer.decode(written, skip_special_tokens=True))
    print(json.dumps(texts))


if __name__ == "__main__":
    main(sys.argv[1])
