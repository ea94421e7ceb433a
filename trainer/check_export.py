"""Check a folder's graphs in ONNX Runtime against transformers: equal tokens, left-padded batches, every input form.

    python trainer/check_export.py target/models/tiny-random            # folder with model.safetensors
    python trainer/check_export.py models/scenes --checkpoint last.pt
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from transformers import SmolVLMForConditionalGeneration, SmolVLMProcessor

from model import SIZES, build_model


class GraphModel:
    """Greedy generation over the three graphs, written as a host program would."""

    def __init__(self, folder: Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        names = ("vision_encoder", "embed_tokens", "decoder_model_merged")
        self.vision, self.embed, self.decoder = (
            onnxruntime.InferenceSession(str(folder / "onnx" / f"{n}.onnx"), options) for n in names)
        self.caches = [i for i in self.decoder.get_inputs() if i.name.startswith("past_key_values")]

    def step(self, embeds, mask, positions, caches, keep):
        """One decoder step: (logits [B,kept,V], caches)."""
        feed = {"inputs_embeds": embeds, "attention_mask": mask, "position_ids": positions,
                "num_logits_to_keep": np.array(keep, np.int64)}
        logits, *caches = self.decoder.run(None, feed | {i.name: c for i, c in zip(self.caches, caches)})
        return logits, caches

    def generate(self, inputs: dict, image_token: int, end: int, limit: int) -> list[list[int]]:
        """Token lists (with the end token) of a left-padded batch as the processor makes it."""
        ids, mask = inputs["input_ids"].numpy(), inputs["attention_mask"].numpy()
        features = self.vision.run(None, {"pixel_values": inputs["pixel_values"].numpy(),
                                          "pixel_attention_mask": inputs["pixel_attention_mask"].numpy().astype(bool)})[0]
        embeds = self.embed.run(None, {"input_ids": ids})[0]
        embeds[ids == image_token] = features.reshape(-1, features.shape[-1])
        positions = np.maximum(mask.cumsum(1) - 1, 0)
        heads, width = self.caches[0].shape[1], self.caches[0].shape[3]
        caches = [np.zeros((len(ids), heads, 0, width), np.float32)] * len(self.caches)
        told, done = [[] for _ in ids], np.zeros(len(ids), bool)
        for _ in range(limit):
            logits, caches = self.step(embeds, mask, positions, caches, 1)
            best = logits[:, -1].argmax(-1)
            for row, token in enumerate(best):
                if not done[row]:
                    told[row].append(int(token))
            done |= best == end
            if done.all():
                break
            embeds = self.embed.run(None, {"input_ids": best[:, None]})[0]
            mask = np.concatenate([mask, np.ones((len(ids), 1), np.int64)], 1)
            positions = positions[:, -1:] + 1
        return told


def load_processor(folder: Path) -> SmolVLMProcessor:
    return SmolVLMProcessor.from_pretrained(folder, use_fast=False, local_files_only=True)


def load_model(folder: Path, checkpoint: Path | None, size: str = "scenes") -> SmolVLMForConditionalGeneration:
    """The reference model: from the folder's own weights, or from a training checkpoint."""
    if checkpoint is None:
        return SmolVLMForConditionalGeneration.from_pretrained(folder, local_files_only=True).eval()
    model = build_model(size, 0)
    model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["model"])
    return model


def chat(processor, question: str) -> str:
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--size", choices=SIZES, default="scenes")
    args = parser.parse_args()
    processor, graphs = load_processor(args.folder), GraphModel(args.folder)
    model, random = load_model(args.folder, args.checkpoint, args.size), np.random.default_rng(3)
    questions = ["Describe this image in detail.", "Describe this image with the location of each object.",
                 "Describe only what can be confidently determined from this image."]
    sizes = [(320, 320), (512, 320), (333, 471)]
    pictures = [Image.fromarray(random.integers(0, 256, (h, w, 3), np.uint8)) for w, h in sizes]
    inputs = processor(images=[[p] for p in pictures], text=[chat(processor, q) for q in questions],
                       return_tensors="pt", padding=True)
    end, pad, limit = model.config.text_config.eos_token_id, processor.tokenizer.pad_token_id, 40
    image_token = model.config.image_token_id
    reference = model.generate(**inputs, do_sample=False, max_new_tokens=limit, eos_token_id=end, pad_token_id=pad)
    reference = reference[:, inputs["input_ids"].shape[1]:].tolist()
    batch = graphs.generate(inputs, image_token, end, limit)
    for row, told in enumerate(batch):
        assert reference[row][: len(told)] == told, (reference[row], told)
        single = {k: v[row: row + 1] for k, v in inputs.items()}
        left = int((single["attention_mask"] == 0).sum())
        single = {k: v[:, left:] if v.ndim == 2 else v for k, v in single.items()}
        assert graphs.generate(single, image_token, end, limit) == [told], "batch 1 differs"
    check_logits(model, graphs, inputs)
    print(f"{args.folder}: {len(batch)} sequences, {sum(map(len, batch))} tokens equal")


def check_logits(model, graphs: GraphModel, inputs: dict) -> None:
    """All logits and the last few agree with transformers to 1e-4 for a text without a picture."""
    ids = inputs["input_ids"][:1, -6:]
    with torch.no_grad():
        wanted = model(input_ids=ids).logits.numpy()
    embeds = graphs.embed.run(None, {"input_ids": ids.numpy()})[0]
    heads, width = graphs.caches[0].shape[1], graphs.caches[0].shape[3]
    caches = [np.zeros((1, heads, 0, width), np.float32)] * len(graphs.caches)
    for keep in (0, 1, 4, 6):
        logits, _ = graphs.step(embeds, np.ones((1, 6), np.int64), np.arange(6)[None], caches, keep)
        expected = wanted[:, -keep:] if keep else wanted
        assert logits.shape == expected.shape, (keep, logits.shape)
        assert np.abs(logits - expected).max() < 1e-4 * max(1.0, np.abs(expected).max()), keep


if __name__ == "__main__":
    main()
