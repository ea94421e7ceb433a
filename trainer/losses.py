"""The two losses: the next token of both texts, and dense labels read off every patch of the vision tower."""

import torch
from torch import nn
from torch.nn import functional as F

from batches import Batch
from tokenizer import COLORS, SHAPES, SIZES, build_tokenizer

# Coordinates are numbers: a near miss is nearly right. The soft target's reach and its standard deviation, in bins:
# wide at first, narrower in the second half of the training.
REACH, SOFT_FIRST, SOFT_LAST = 15, 6.0, 2.5
SHAPE_WEIGHT = 2.0


class DenseHead(nn.Module):
    """Shape, colour and size of what each patch shows, and the distances to its object's edges. Thrown away later."""

    def __init__(self, width: int):
        super().__init__()
        self.parts = (len(SHAPES) + 1, len(COLORS) + 1, len(SIZES) + 1, 4)
        self.linear = nn.Linear(width, sum(self.parts))

    def forward(self, patches: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, float]:
        """patches f32 [B,P,W] -> loss, and the share of object patches whose shape is right."""
        *kinds, edges = self.linear(patches).split(self.parts, -1)
        thing = batch.classes[..., 0] < len(SHAPES)
        loss = patches.new_zeros(())
        for kind, (scores, weight) in enumerate(zip(kinds, (2.0, 1.0, 0.5))):
            each = F.cross_entropy(scores.flatten(0, 1), batch.classes[..., kind].flatten(), reduction="none")
            loss = loss + weight * (each[thing.flatten()].mean() + 0.5 * each[~thing.flatten()].mean())
        loss = loss + 10.0 * (edges[thing] - batch.edges[thing]).abs().mean()
        right = (kinds[0].argmax(-1) == batch.classes[..., 0])[thing].float().mean().item()
        return loss, right


class TextLoss:
    """Cross-entropy over the taught tokens; soft targets for coordinates, more weight on the words for shapes."""

    def __init__(self):
        tokenizer = build_tokenizer()
        self.first = tokenizer.convert_tokens_to_ids("000")
        self.shapes = torch.tensor([tokenizer.convert_tokens_to_ids(f" {s}") for s in SHAPES])
        self.offsets = torch.arange(-REACH, REACH + 1)

    def __call__(self, logits: torch.Tensor, wanted: torch.Tensor, done: float) -> tuple[torch.Tensor, dict]:
        """logits f32 [T,V], wanted i64 [T], the share of the training that is done -> loss, and figures to watch."""
        narrow = min(1.0, max(0.0, (done - 0.45) / 0.4))
        bell = torch.exp(-0.5 * (self.offsets / (SOFT_FIRST + narrow * (SOFT_LAST - SOFT_FIRST))) ** 2)
        log = logits.log_softmax(-1)
        number = (wanted >= self.first) & (wanted < self.first + 1000)
        words, heard = log[~number], wanted[~number]
        shape = torch.isin(heard, self.shapes)
        weight = torch.where(shape, SHAPE_WEIGHT, 1.0)
        plain = -(words.gather(1, heard[:, None])[:, 0] * weight).sum()
        bins = wanted[number][:, None] - self.first + self.offsets
        soft = bell * ((bins >= 0) & (bins < 1000))
        near = log[number].gather(1, bins.clamp(0, 999) + self.first)
        placed = -(near * soft / soft.sum(1, keepdim=True)).sum()
        said = words.detach().argmax(-1)
        figures = {
            "shape": (said == heard)[shape].float().mean().item(),
            "word": (said == heard).float().mean().item(),
            "off": (log[number].detach().argmax(-1) - wanted[number]).abs().clamp(max=1000).float().median().item(),
        }
        return (plain + placed) / len(wanted), figures
