"""Muon for the matrices of the layers, AdamW for everything else.

Muon steps along the orthogonalised momentum of a matrix (Newton-Schulz iteration, as Keller Jordan published it in
2024), which takes far fewer steps than AdamW on small transformers. Embeddings, heads, biases and gains stay with AdamW.
"""

import torch

_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Roughly U V^T of the matrix's singular value decomposition."""
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        square = x @ x.T
        x = _A * x + (_B * square + _C * square @ square) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum (Nesterov), orthogonalised; `lr` is the spectral size of a step on a square matrix."""

    def __init__(self, matrices, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(matrices, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonal(weight.grad.lerp(state["momentum"], group["momentum"]).flatten(1))
                gain = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update.view_as(weight), alpha=-group["lr"] * gain)


class Both:
    """The two optimisers as one. `scale` of `step` is the schedule's share (0 to 1) of their peak rates."""

    def __init__(self, model, extra, muon: float = 0.01, adam: float = 1.5e-3):
        layers = {id(w) for name, w in model.named_parameters() if ".layers." in name and w.ndim == 2}
        rest = [w for w in [*model.parameters(), *extra] if id(w) not in layers]
        self.parts = [
            Muon([w for w in model.parameters() if id(w) in layers], lr=muon, weight_decay=0.02),
            torch.optim.AdamW([{"params": [w for w in rest if w.ndim >= 2], "weight_decay": 0.02},
                               {"params": [w for w in rest if w.ndim < 2], "weight_decay": 0.0}],
                              lr=adam, betas=(0.9, 0.98), foreach=True)]
        self.peaks = [muon, adam]

    def step(self, scale: float) -> None:
        for part, peak in zip(self.parts, self.peaks):
            for group in part.param_groups:
                group["lr"] = peak * scale
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list) -> None:
        for part, state in zip(self.parts, states):
            part.load_state_dict(state)
