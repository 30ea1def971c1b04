"""Muon for hidden weights, AdamW for the rest: fewer iterations where iterations are dear.

Source: Keller Jordan, Muon (2024): momentum, orthogonalised by a Newton-Schulz iteration.
torch.optim.Muon takes matrices only; here convolution kernels are matrices [out, in*kh*kw] too.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalised(update: Tensor, iterations: int = 5) -> Tensor:
    """A matrix with the update's singular vectors and singular values near 1."""
    a, b, c = NEWTON_SCHULZ
    x = update / (update.norm() + 1e-7)
    is_tall = x.shape[0] > x.shape[1]
    x = x.mT if is_tall else x
    # Each round is x <- p(G) x with G = x x'; p(G) commutes with G, so the rounds can run on the
    # small square G alone (G <- p(G) G p(G)) and touch the long x twice instead of ten times.
    gram = x @ x.mT
    eye = torch.eye(len(gram))
    total = eye
    for _ in range(iterations):
        poly = a * eye + b * gram + c * (gram @ gram)
        total = poly @ total
        gram = poly @ gram @ poly
    whole: Tensor = total @ x
    return whole.mT if is_tall else whole


class HiddenMuon(torch.optim.Optimizer):
    """Muon over matrices and kernels; `lr` is the root-mean-square size of a step times 5."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(list(parameters), {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        del closure
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].mul_(MOMENTUM).add_(parameter.grad)
                update = parameter.grad + MOMENTUM * momentum
                matrix = orthogonalised(update.flatten(1))
                scale = 0.2 * max(matrix.shape) ** 0.5
                parameter.add_(matrix.view_as(parameter), alpha=-group["lr"] * scale)


def is_hidden(name: str, parameter: nn.Parameter, outer: tuple[str, ...]) -> bool:
    """Weights between inner layers; `outer` names the first and last layers."""
    return parameter.ndim >= 2 and not name.startswith(outer) and "modulation" not in name


class MuonAndAdam:
    """Both optimisers behind one step; `outer` names the layers that Adam keeps."""

    def __init__(self, module: nn.Module, lr: float, outer: tuple[str, ...]) -> None:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        hidden = [p for name, p in named if is_hidden(name, p, outer)]
        rest = [p for name, p in named if not is_hidden(name, p, outer)]
        self._parameters = [p for _, p in named]
        self._optimizers: list[torch.optim.Optimizer] = [
            HiddenMuon(hidden, lr),
            torch.optim.AdamW(rest, lr, betas=(0.9, 0.99), weight_decay=0.0),
        ]

    def step(self, loss: Tensor, lr: float) -> None:
        """One update of every parameter down the loss's gradient."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        # Matrices this small are slower on two threads than on one, most of all on a busy machine.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        for optimizer in self._optimizers:
            optimizer.step()
        torch.set_num_threads(threads)
