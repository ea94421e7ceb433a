"""Training batches: pictures, both texts of each packed into one row, and labels for every patch.

A row is  [picture part][question A][answer A][question B][answer B]: both pairs see the picture part, neither sees
the other, and both count their positions from the end of the picture part. So the picture is read once for two prompts.
"""

import random
from dataclasses import dataclass

import numpy as np
import torch

from tokenizer import END, IMAGE, build_tokenizer, prompt_text
from world import CAPTION_PROMPTS, GROUNDING_PROMPT, caption_text, grounding_text, mirrored, patch_labels


@dataclass
class Batch:
    """pixels f32 [B,3,S,S] in -1..1; ids, positions, segments i64 [B,L] (segment 0 picture part, 1 and 2 pairs, 3 padding);
    taught bool [B,L]: where the next token is learnt; next_ids i64 [B,L]; classes i64 [B,P,3]; edges f32 [B,P,4]."""

    pixels: torch.Tensor
    ids: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    taught: torch.Tensor
    next_ids: torch.Tensor
    classes: torch.Tensor
    edges: torch.Tensor

    def allowed(self) -> torch.Tensor:
        """Which key each query may see: bool [B,1,L,L]."""
        length = self.ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        same = self.segments[:, :, None] == self.segments[:, None, :]
        return (causal & (same | (self.segments == 0)[:, None, :]))[:, None]


class Packer:
    """Makes batches out of scenes and their cached pictures."""

    def __init__(self, scenes: list[dict], pictures: np.ndarray, image_tokens: int, patches: int, seed: int):
        self.scenes, self.pictures, self.patches = scenes, pictures, patches
        self.tokenizer, self.random = build_tokenizer(), random.Random(seed)
        full = self.encode(prompt_text("", image_tokens))
        image = self.tokenizer.convert_tokens_to_ids(IMAGE)
        cut = len(full) - full[::-1].index(image) + 1  # the picture part ends one past the last image token
        self.picture_part, self.after_question = full[:cut], full[cut:]

    def encode(self, text: str) -> list[int]:
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        if self.tokenizer.unk_token_id in ids:
            raise ValueError(f"not in the vocabulary: {text!r}")
        return ids

    def row(self, scene: dict) -> tuple[list, list, list, list]:
        """ids, positions, segments and taught marks of one scene."""
        ids, start = list(self.picture_part), len(self.picture_part)
        positions, segments, taught = list(range(start)), [0] * start, [False] * start
        pairs = [(self.random.choice(CAPTION_PROMPTS), caption_text(scene)), (GROUNDING_PROMPT, grounding_text(scene))]
        for segment, (question, answer) in enumerate(pairs, 1):
            asked = self.encode(question) + self.after_question
            told = self.encode(f" {answer}{END}")
            ids += asked + told
            positions += range(start, start + len(asked) + len(told))
            segments += [segment] * (len(asked) + len(told))
            taught += [False] * (len(asked) - 1) + [True] * len(told) + [False]
        return ids, positions, segments, taught

    def batch(self, indices, augment: bool = True) -> Batch:
        rows, pixels, classes, edges = [], [], [], []
        for index in indices:
            scene, picture = self.scenes[index], self.pictures[index]
            if augment and self.random.random() < 0.5:
                scene, picture = mirrored(scene), picture[:, ::-1]
            rows.append(self.row(scene))
            pixels.append(picture)
            labels = patch_labels(scene, self.patches)
            classes.append(labels[0])
            edges.append(labels[1])
        length = max(len(row[0]) for row in rows)
        fill = (self.tokenizer.pad_token_id, 0, 3, False)
        columns = [torch.tensor([row[k] + [fill[k]] * (length - len(row[0])) for row in rows]) for k in range(4)]
        ids, positions, segments, taught = columns
        values = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        if augment:
            gain = 1.0 + 0.08 * torch.randn(len(rows), 1, 1, 1)
            values = ((values + 1.0) * gain).clamp(0.0, 2.0) - 1.0
        return Batch(values.contiguous(), ids, positions, segments, taught, ids.roll(-1, 1),
                     torch.from_numpy(np.stack(classes)), torch.from_numpy(np.stack(edges)))
