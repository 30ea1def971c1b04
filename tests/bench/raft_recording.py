"""RAFT-large with weights that a formula gives, and what torchvision made of two frames with them.

`python -m tests.bench.raft_recording` writes the recording anew where torchvision can be imported
(0.28.0 beside torch 2.13.0 wrote the one that is here).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

RECORDED = Path(__file__).parent / "raft_recorded.safetensors"
"""`flow`: [2, 16, 16], every eighth px; `names`: of the tensors, as bytes, a line each."""
SIDE_PX, EVERY_PX = 128, 8


def formula_weights(like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of these names and shapes; each tensor's numbers depend on its name alone."""
    return {name: _weight(name, tensor) for name, tensor in like.items()}


def _weight(name: str, like: Tensor) -> Tensor:
    if not like.is_floating_point():
        return torch.zeros_like(like)
    drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(like.shape)
    if name.endswith("running_var"):
        drawn = 1 + 0.3 * np.tanh(drawn)
    elif like.ndim == 1:
        drawn = 0.1 * drawn + float(name.endswith("1.weight"))
    else:
        drawn *= math.sqrt(2 / (like.shape[0] * math.prod(like.shape[2:])))
    if "flow_head.conv2" in name:
        drawn *= 0.01  # some px of flow, and not out of the picture
    return torch.from_numpy(drawn).float()


def two_frames() -> tuple[Tensor, Tensor]:
    """Noise, and the same noise otherwise placed: [1, 3, 128, 128] each, 0..1."""
    noise = np.random.RandomState(7).random_sample((1, 3, SIDE_PX, SIDE_PX))
    first = torch.from_numpy(noise).float()
    return first, first.roll((3, -5), (2, 3))


@torch.inference_mode()
def record() -> None:
    """Writes the recording: torchvision's last flow for `two_frames`."""
    # An import of its own: the tests do without torchvision.
    from torchvision.models.optical_flow import raft_large  # noqa: PLC0415

    model = raft_large(weights=None).eval()
    model.load_state_dict(formula_weights(model.state_dict()))
    first, second = two_frames()
    flow = model(first * 2 - 1, second * 2 - 1)[-1][0, :, ::EVERY_PX, ::EVERY_PX]
    names = "\n".join(sorted(model.state_dict())).encode()
    save_file(
        {"flow": flow.contiguous(), "names": torch.frombuffer(bytearray(names), dtype=torch.uint8)},
        RECORDED,
    )


if __name__ == "__main__":
    record()
