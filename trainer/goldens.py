"""Write what transformers says about a set of pictures, for the engine's tests to repeat token for token.

    python trainer/goldens.py models/scenes --checkpoint target/train/last.pt \
        --scenes target/scenes/goldens --count 60 --out tests/goldens/smolvlm

Each picture is asked one caption prompt (picked by its index) and the grounding prompt, batch 1, greedy. A picture with a
step whose best two logits are closer than MARGIN is skipped for the next one: there, rounding could decide.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image

from check_export import chat, load_model, load_processor
from model import SIZES
from world import CAPTION_PROMPTS, GROUNDING_PROMPT, read_truth

MARGIN = 1e-3


@torch.no_grad()
def answer(model, processor, picture: Image.Image, question: str, limit: int) -> dict:
    """Prompt, token ids and decoded text of one question, with the smallest margin on the way."""
    prompt = chat(processor, question)
    inputs = processor(images=[[picture]], text=[prompt], return_tensors="pt")
    said = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=limit, return_dict_in_generate=True,
                          output_scores=True, eos_token_id=model.config.text_config.eos_token_id,
                          pad_token_id=processor.tokenizer.pad_token_id)
    ids = inputs["input_ids"][0].tolist()
    best = torch.stack([scores[0].topk(2).values for scores in said.scores])
    generated = said.sequences[0, len(ids):].tolist()
    return {"prompt": question, "chat": prompt, "input_ids": ids, "generated_ids": generated,
            "text": processor.tokenizer.decode(generated, skip_special_tokens=True).strip(),
            "margin": float(f"{(best[:, 0] - best[:, 1]).min().item():.6g}")}


def pixels(processor, picture: Image.Image) -> dict:
    """The picture as the vision encoder gets it: digest of its bytes after resizing (RGB, rows first), and some values."""
    values = processor.image_processor([picture], return_tensors="np")["pixel_values"][0, 0]
    levels = np.round((values * 0.5 + 0.5) * 255).astype(np.uint8).transpose(1, 2, 0)
    places = [(c, y, x) for c in range(3) for y, x in ((0, 0), (values.shape[1] // 2, values.shape[2] // 3))]
    return {"sha256": hashlib.sha256(levels.tobytes()).hexdigest(), "shape": list(values.shape),
            "samples": [{"at": place, "value": float(values[place])} for place in places]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="a training checkpoint; else the folder's own weights")
    parser.add_argument("--size", choices=SIZES, default="scenes")
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--max-bytes", type=int, default=150_000, help="larger files (noisy ones) are passed over")
    parser.add_argument("--limit", type=int, default=128)
    args = parser.parse_args()
    torch.set_num_threads(1)
    processor, model = load_processor(args.folder), load_model(args.folder, args.checkpoint, args.size)
    shutil.rmtree(args.out, ignore_errors=True)
    (args.out / "images").mkdir(parents=True)
    kept, replaced = [], 0
    for index, scene in enumerate(read_truth(args.scenes)):
        path = args.scenes / "images" / scene["file"]
        if path.suffix == ".jpg" or path.stat().st_size > args.max_bytes:
            continue  # lossless files only: decoders of JPEG differ by a level here and there
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        questions = [CAPTION_PROMPTS[index % len(CAPTION_PROMPTS)], GROUNDING_PROMPT]
        answers = [answer(model, processor, picture, question, args.limit) for question in questions]
        if min(a["margin"] for a in answers) < MARGIN:
            replaced += 1
            continue
        shutil.copy(path, args.out / "images" / scene["file"])
        kept.append({"file": scene["file"], "pixels": pixels(processor, picture), "answers": answers})
        if len(kept) == args.count:
            break
    header = {"transformers": transformers.__version__, "torch": torch.__version__, "max_new_tokens": args.limit,
              "margin": MARGIN, "replaced": replaced}
    lines = ",\n".join(json.dumps(scene) for scene in kept)
    (args.out / "goldens.json").write_text(json.dumps(header)[:-1] + ', "scenes": [\n' + lines + "\n]}\n")
    print(f"{args.out}: {len(kept)} pictures, {replaced} replaced")


if __name__ == "__main__":
    main()
