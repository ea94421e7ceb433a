"""Train the scenes model until a given time; resumes from its last checkpoint.

    torchrun --nproc-per-node 2 trainer/train.py --data target/scenes/train --out target/train --minutes 70

Processes of one thread each share the work and average their gradients once a step; on a busy machine that wastes less
than threads, which wait for each other in every operation.
"""

import argparse
import copy
import json
import math
import os
import random
import time
from pathlib import Path

import torch
import torch.distributed as dist

from batches import Packer
from cache import build_cache
from losses import DenseHead, TextLoss
from model import build_model, image_tokens, start_well
from optimizer import Both
from world import read_truth


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of `vila2 scenes generate`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=75.0, help="wall-clock length of the whole schedule")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--peak", type=float, default=1.5e-3, help="highest AdamW rate; --muon is the matrices'")
    parser.add_argument("--muon", type=float, default=0.01)
    parser.add_argument("--warmup", type=int, default=150)
    parser.add_argument("--size", default="scenes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dense", type=float, default=0.5, help="weight of the dense loss")
    parser.add_argument("--look-first", type=float, default=4.0, help="minutes in which only the vision tower learns")
    parser.add_argument("--save-every", type=float, default=240.0, help="seconds between checkpoints")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def see(model, pixels: torch.Tensor) -> torch.Tensor:
    """The vision tower on whole pictures: patches [B,P,W]. The same as its own forward with a full mask."""
    vision = model.model.vision_model
    hidden = vision.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
    hidden = hidden + vision.embeddings.position_embedding.weight
    return vision.post_layernorm(vision.encoder(hidden, None).last_hidden_state)


def read(model, batch, features: torch.Tensor) -> torch.Tensor:
    """Hidden states [B,L,H] of the packed texts with the picture's features [B,tokens,H] in their places."""
    embeds = model.get_input_embeddings()(batch.ids)
    embeds = embeds.masked_scatter((batch.ids == model.config.image_token_id)[..., None], features)
    return model.model.text_model(inputs_embeds=embeds, attention_mask=batch.allowed(), position_ids=batch.positions,
                                  use_cache=False).last_hidden_state


class Average:
    """A moving average of the weights; short at first, so that it forgets the start."""

    def __init__(self, model):
        self.model, self.steps = copy.deepcopy(model).requires_grad_(False), 0

    @torch.no_grad()
    def update(self, model):
        self.steps += 1
        keep = min(0.998, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1.0 - keep)


class Run:
    """Everything that a checkpoint holds."""

    def __init__(self, args):
        self.model = build_model(args.size, args.seed).train()
        start_well(self.model)
        torch.manual_seed(args.seed)
        self.dense = DenseHead(self.model.config.vision_config.hidden_size)
        self.average, self.step, self.spent, self.late = Average(self.model), 0, 0.0, 0.0
        self.weights = [*self.model.parameters(), *self.dense.parameters()]
        self.optimizer = Both(self.model, self.dense.parameters(), args.muon, args.peak)

    def save(self, path: Path) -> None:
        state = {"model": self.average.model.state_dict(), "raw": self.model.state_dict(), "dense": self.dense.state_dict(),
                 "optimizer": self.optimizer.state_dict(), "step": self.step, "spent": self.spent, "averaged": self.average.steps}
        torch.save(state, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.average.model.load_state_dict(state["model"])
        self.model.load_state_dict(state["raw"])
        self.dense.load_state_dict(state["dense"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.spent, self.average.steps = state["step"], state["spent"], state["averaged"]


def rate(args, step: int, spent: float) -> float:
    """Share of the peak learning rate: linear warm-up by steps, then a cosine to zero over the wall-clock length."""
    done = min(1.0, spent / (args.minutes * 60))
    return min(1.0, (step + 1) / args.warmup) * (0.5 + 0.5 * math.cos(math.pi * done))


def agree(weights: list, took: float) -> float:
    """Average the gradients (in place) and the time over all processes; returns the time."""
    if not dist.is_initialized():
        return took
    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    flat = torch.cat([w.grad.flatten() for w in weights] + [torch.tensor([took])])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    torch._foreach_copy_([w.grad for w in weights],
                         [part.view_as(w) for part, w in zip(flat[:-1].split([w.numel() for w in weights]), weights)])
    return flat[-1].item()


def losses(run: Run, text_loss: TextLoss, batch, texts: bool, done: float) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """The text loss (0 without `texts`), the dense loss, and figures to watch."""
    patches = see(run.model, batch.pixels)
    dense, seen = run.dense(patches, batch)
    text, figures = torch.zeros(()), {}
    if texts:
        hidden = read(run.model, batch, run.model.model.connector(patches))
        text, figures = text_loss(run.model.lm_head(hidden[batch.taught]), batch.next_ids[batch.taught], done)
    return text, dense, {"text": text.item(), "dense": dense.item(), "seen": seen, **figures}


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    args.out.mkdir(parents=True, exist_ok=True)
    scenes = read_truth(args.data)
    run, checkpoint = Run(args), args.out / "last.pt"
    if checkpoint.exists():
        run.load(checkpoint)
    vision = run.model.config.vision_config
    pictures = build_cache(args.data, args.out / f"{args.data.name}.npy", vision.image_size)
    packer = Packer(scenes, pictures, image_tokens(run.model.config), vision.image_size // vision.patch_size,
                    args.seed + run.step + 7919 * rank)
    text_loss, shuffle, order = TextLoss(), random.Random(args.seed * 1000 + run.step), []
    log, saved, sums = open(args.out / "log.jsonl", "a"), time.monotonic(), {}
    while run.spent < args.minutes * 60:
        begun = time.monotonic()
        if len(order) < args.batch:
            order = shuffle.sample(range(len(scenes)), len(scenes))
        chosen, order = order[: args.batch][rank::world], order[args.batch:]
        texts = run.spent >= args.look_first * 60
        text, dense, figures = losses(run, text_loss, packer.batch(chosen), texts, run.spent / (args.minutes * 60))
        (text + args.dense * dense).backward()
        waited = time.monotonic() - begun
        run.spent += agree(run.weights, time.monotonic() - begun + run.late)
        torch.nn.utils.clip_grad_norm_(run.weights, 1.0)
        run.optimizer.step(rate(args, run.step, run.spent))
        run.average.update(run.model)
        run.step += 1
        run.late = time.monotonic() - begun - waited  # counted with the next step, so that all processes agree
        for name, value in (figures | {"seconds": time.monotonic() - begun}).items():
            sums.setdefault(name, []).append(value)
        if rank == 0 and run.step % 20 == 0:
            line = {"step": run.step, "minutes": round(run.spent / 60, 2)}
            line |= {name: round(sum(values) / len(values), 3) for name, values in sums.items()}
            print(json.dumps(line), file=log, flush=True)
            print(line, flush=True)
            sums = {}
        if rank == 0 and time.monotonic() - saved > args.save_every:
            run.save(checkpoint)
            saved = time.monotonic()
    if rank == 0:
        run.save(checkpoint)


if __name__ == "__main__":
    main()
