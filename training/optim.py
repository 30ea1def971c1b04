"""Muon for hidden weights, AdamW for the rest: fewer iterations where iterations are dear.

Nothing is read back from the device on the way, so that a whole step fits into a CUDA graph.
Source: Keller Jordan, Muon (2024): momentum, orthogonalised by a Newton-Schulz iteration.
torch.optim.Muon takes matrices only; here convolution kernels are matrices [out, in*kh*kw] too,
and matrices of one shape are turned as one batch.

# G matrices of one shape  R rows  C columns
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
MAX_GRADIENT = 1.0
"""The norm of all gradients together is cut to this."""
TOLD_EVERY = 100
"""Steps. To read a number is to wait for the device."""


def cosine_lr(progress: float, peak: float, warm: float = 0.03) -> float:
    """Linear warm-up, then a half cosine down to 2 % of the peak, over progress 0..1."""
    if progress < warm:
        return peak * (progress + 1e-3) / (warm + 1e-3)
    share = min((progress - warm) / (1 - warm), 1.0)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def orthogonalised(update_GRC: Tensor, iterations: int = 5) -> Tensor:
    """Matrices with the updates' singular vectors and singular values near 1."""
    a, b, c = NEWTON_SCHULZ
    x = update_GRC / (update_GRC.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    is_tall = x.shape[-2] > x.shape[-1]
    x = x.mT if is_tall else x
    # Each round is x <- p(G) x with G = x x'; p(G) commutes with G, so the rounds can run on the
    # small square G alone (G <- p(G) G p(G)) and touch the long x twice instead of ten times.
    gram = x @ x.mT
    eye = torch.eye(gram.shape[-1], device=x.device, dtype=x.dtype)
    total = eye
    for _ in range(iterations):
        poly = a * eye + b * gram + c * (gram @ gram)
        total = poly @ total
        gram = poly @ gram @ poly
    whole: Tensor = total @ x
    return whole.mT if is_tall else whole


class HiddenMuon:
    """Muon over matrices and kernels; `lr` is the root-mean-square size of a step times 5."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        by_shape: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, parameter in enumerate(parameters):
            rows, columns = parameter.flatten(1).shape
            by_shape[rows, columns].append(index)
        self._parameters = parameters
        self._groups = list(by_shape.values())
        self._momentum_GRC = [
            torch.stack([parameters[i].detach().flatten(1) for i in group]).zero_()
            for group in self._groups
        ]

    @torch.no_grad()
    def step_(self, gradients: Sequence[Tensor], lr: Tensor) -> None:
        """The parameters are one update further; a gradient each, in order."""
        for group, momentum_GRC in zip(self._groups, self._momentum_GRC, strict=True):
            gradient_GRC = torch.stack([gradients[i].flatten(1) for i in group])
            momentum_GRC.mul_(MOMENTUM).add_(gradient_GRC)
            matrices_GRC = orthogonalised(gradient_GRC + MOMENTUM * momentum_GRC)
            scale = 0.2 * max(matrices_GRC.shape[-2:]) ** 0.5
            steps_GRC = matrices_GRC * (lr * -scale)
            for index, step in zip(group, steps_GRC, strict=True):
                parameter = self._parameters[index]
                parameter.add_(step.view_as(parameter))


def is_hidden(name: str, parameter: nn.Parameter, outer: tuple[str, ...]) -> bool:
    """Weights between inner layers; `outer` names the first and last layers."""
    return parameter.ndim >= 2 and not name.startswith(outer) and "modulation" not in name


class MuonAndAdam:
    """Both optimisers behind one step; `outer` names the layers that Adam keeps.

    `lr` is a tensor on the parameters' device: set it between steps.
    """

    def __init__(self, module: nn.Module, lr: float, outer: tuple[str, ...]) -> None:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        hidden = [p for name, p in named if is_hidden(name, p, outer)]
        self._rest = [p for name, p in named if not is_hidden(name, p, outer)]
        self._parameters = hidden + self._rest
        self._num_hidden = len(hidden)
        device = self._parameters[0].device
        self.lr = torch.tensor(lr, device=device)
        self._muon = HiddenMuon(hidden)
        self._adam = torch.optim.AdamW(
            self._rest,
            self.lr,
            betas=(0.9, 0.99),
            weight_decay=0.0,
            fused=True,
            capturable=device.type == "cuda",
        )

    def step(self, loss: Tensor) -> None:
        """One update of every parameter down the loss's gradient."""
        whole = torch.autograd.grad(loss, self._parameters)
        norm = torch.stack([gradient.norm() for gradient in whole]).norm()
        cut = (MAX_GRADIENT / (norm + 1e-6)).clamp(max=1.0)
        gradients = [gradient * cut for gradient in whole]
        self._muon.step_(gradients[: self._num_hidden], self.lr)
        for parameter, gradient in zip(self._rest, gradients[self._num_hidden :], strict=True):
            parameter.grad = gradient
        self._adam.step()


class Average:
    """A running average of a module's parameters that learn, which ends better than their last
    values.

    Torch's `AveragedModel` asks the device how often it has run, which no CUDA graph can.
    """

    def __init__(self, module: nn.Module, keep: float) -> None:
        self._live = [p.detach() for p in module.parameters() if p.requires_grad]
        self._kept = [p.clone() for p in self._live]
        self._keep = keep

    @torch.no_grad()
    def follow_(self) -> None:
        """It has moved a part of the way to what the parameters are now."""
        for kept, live in zip(self._kept, self._live, strict=True):
            kept.mul_(self._keep).add_(live, alpha=1 - self._keep)

    @torch.no_grad()
    def write_(self) -> None:
        """The parameters are their average."""
        for kept, live in zip(self._kept, self._live, strict=True):
            live.copy_(kept)


def repeated(step: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """The step, on CUDA recorded once and replayed: small models are all launches otherwise.

    It must draw its own data on the device, and give a tensor, which each call overwrites.
    """
    if device.type != "cuda":
        return step
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


@dataclass(frozen=True, slots=True)
class Limit:
    """Training ends by whichever comes first."""

    minutes: float
    steps: float = math.inf


def train(
    name: str,
    step_at: Callable[[float, int], Callable[[], Tensor]],
    labels: Sequence[str],
    optimizer: MuonAndAdam,
    peak_lr: float,
    limit: Limit,
) -> None:
    """Steps to the limit; prints now and then what they give, under these labels.

    Args:
        step_at: the step to take at a progress of 0..1 and after so many others.

    Raises:
        FloatingPointError: a number that a step gives is not finite.
    """
    began, number, progress = time.monotonic(), 0, 0.0
    while progress < 1:
        optimizer.lr.fill_(cosine_lr(progress, peak_lr))
        result = step_at(progress, number)()
        number += 1
        seconds = time.monotonic() - began
        progress = max(number / limit.steps, seconds / (60 * limit.minutes))
        if number % TOLD_EVERY:
            continue
        values: list[float] = result.tolist()
        told = " ".join(f"{one} {value:.4f}" for one, value in zip(labels, values, strict=True))
        if not all(map(math.isfinite, values)):
            raise FloatingPointError(f"{name} step {number}: {told}")
        print(f"{name} {number} ({progress:.0%}) {told} {seconds / number:.4f} s/it", flush=True)
