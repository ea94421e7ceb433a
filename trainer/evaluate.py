"""Score a checkpoint on unseen scenes by greedy decoding of both prompts.

    python trainer/evaluate.py target/train/last.pt --data target/scenes/val
"""

import argparse
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from cache import build_cache
from check_export import load_model
from model import SIZES, image_tokens
from tokenizer import COLORS, SHAPES, build_tokenizer, prompt_text
from tokenizer import SIZES as THING_SIZES
from world import CAPTION_PROMPTS, GROUNDING_PROMPT, caption_text, locate, read_truth

THING = re.compile(rf"({'|'.join(THING_SIZES)}) ({'|'.join(COLORS)}) ({'|'.join(SHAPES)})")
PLACED = re.compile(THING.pattern + r" \[(\d{3}),(\d{3}),(\d{3}),(\d{3})\]")


@torch.no_grad()
def answers(model, tokenizer, pictures: np.ndarray, questions: list[str], limit: int) -> list[str]:
    """The model's texts for pictures uint8 [B,S,S,3], one question each."""
    texts = [prompt_text(question, image_tokens(model.config)) for question in questions]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    said = model.generate(**inputs, pixel_values=pixels[:, None], do_sample=False, max_new_tokens=limit,
                          eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    said = said[:, inputs["input_ids"].shape[1]:]
    return [text.strip() for text in tokenizer.batch_decode(said, skip_special_tokens=True)]


def overlap(a, b) -> float:
    """Intersection over union of two boxes [xmin,ymin,xmax,ymax]."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(0, width) * max(0, height)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / area if area > 0 else 0.0


def boxes_right(scene: dict, text: str) -> tuple[int, int]:
    """(boxes said, boxes said right): same shape and IoU of at least 0.5, one-to-one."""
    left = [(t["shape"], locate(scene, t["box"])) for t in scene["objects"]]
    said, right = PLACED.findall(text), 0
    for _, _, shape, *box in said:
        box = [int(v) for v in box]
        fits = [(overlap(box, other), k) for k, (noun, other) in enumerate(left) if noun == shape]
        best = max(fits, default=(0.0, -1))
        if best[0] >= 0.5:
            left.pop(best[1])
            right += 1
    return len(said), right


def shares(said: int, right: int, true: int) -> dict:
    precision, recall = right / max(1, said), right / max(1, true)
    return {"precision": round(precision, 3), "recall": round(recall, 3),
            "f1": round(2 * precision * recall / max(1e-9, precision + recall), 3)}


def score(scenes: list[dict], captions: list[str], groundings: list[str]) -> dict:
    """Objects by shape noun, whole objects (size, colour and shape), boxes, and captions right word for word."""
    nouns, wholes, boxes, true, exact = [0, 0], [0, 0], [0, 0], 0, 0
    for scene, caption, grounding in zip(scenes, captions, groundings):
        things = Counter((t["size"], t["color"], t["shape"]) for t in scene["objects"])
        said = Counter(THING.findall(caption))
        shapes, said_shapes = (Counter(s for *_, s in counter.elements()) for counter in (things, said))
        true += things.total()
        for tally, right in ((nouns, (shapes & said_shapes).total()), (wholes, (things & said).total())):
            tally[0] += said.total()
            tally[1] += right
        for k, count in enumerate(boxes_right(scene, grounding)):
            boxes[k] += count
        exact += caption == caption_text(scene)
    return {"object": shares(*nouns, true), "whole_object": shares(*wholes, true), "box": shares(*boxes, true),
            "caption_exact": round(exact / len(scenes), 3), "scenes": len(scenes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--size", choices=SIZES, default="scenes")
    parser.add_argument("--show", type=int, default=0, help="print this many answers")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = load_model(Path("."), args.checkpoint, args.size), build_tokenizer()
    scenes = read_truth(args.data)[: args.count]
    side = model.config.vision_config.image_size
    pictures = build_cache(args.data, args.checkpoint.parent / f"{args.data.name}.npy", side)
    captions, groundings = [], []
    for start in range(0, len(scenes), 100):
        part = np.array(pictures[start: min(start + 100, len(scenes))])
        questions = [CAPTION_PROMPTS[(start + k) % 3] for k in range(len(part))]
        captions += answers(model, tokenizer, part, questions, 64)
        groundings += answers(model, tokenizer, part, [GROUNDING_PROMPT] * len(part), 128)
    for scene, caption, grounding in list(zip(scenes, captions, groundings))[: args.show]:
        print(f"{caption_text(scene)}\n  {caption}\n  {grounding}")
    print(json.dumps(score(scenes, captions, groundings), indent=1))


if __name__ == "__main__":
    main()
