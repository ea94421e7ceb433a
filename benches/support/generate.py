"""Answers what `benches/transformers.rs` hands over by transformers' own `generate`, in static batches.

    python benches/support/generate.py MODEL WORK THREADS

Each line of stdin is a batch size; each is answered by a line of JSON: seconds, and the length of every answer.
"""

import json
import sys
import time
from pathlib import Path

import numpy
import torch
from transformers import AutoModelForImageTextToText, StoppingCriteria


class Limits(StoppingCriteria):
    """Ends each row at a length of its own."""

    def __init__(self, prompt: int, limits: list[int]):
        self.prompt, self.limits = prompt, torch.tensor(limits)

    def __call__(self, input_ids, scores, **_):
        return input_ids.shape[1] - self.prompt >= self.limits


def length(answer: list[int], limit: int, ends: set[int]) -> int:
    """Tokens before the one that ends the text."""
    found = (at for at, token in enumerate(answer[:limit]) if token in ends)
    return next(found, limit)


def main() -> None:
    folder, work, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    work_of = json.loads((work / "work.json").read_text())
    ids, limits, side = work_of["ids"], work_of["limits"], work_of["side"]
    pixels = torch.from_numpy(numpy.fromfile(work / "pixels.f32", dtype=numpy.float32)).reshape(-1, 1, 3, side, side)
    ends = model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    for line in sys.stdin:
        batch, lengths = int(line), []
        began = time.perf_counter()
        for at in range(0, len(ids), batch):
            rows = slice(at, at + batch)
            prompts = torch.tensor(ids[rows])
            with torch.inference_mode():
                said = model.generate(
                    input_ids=prompts, attention_mask=torch.ones_like(prompts), pixel_values=pixels[rows],
                    do_sample=False, max_new_tokens=max(limits[rows]),
                    stopping_criteria=[Limits(prompts.shape[1], limits[rows])])
            answers = said[:, prompts.shape[1]:].tolist()
            lengths += [length(answer, limit, ends) for answer, limit in zip(answers, limits[rows])]
        print(json.dumps({"seconds": time.perf_counter() - began, "lengths": lengths}), flush=True)


if __name__ == "__main__":
    main()
