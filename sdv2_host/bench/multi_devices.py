"""Stage times of GPUs for simulations of many, as models with stated sources; no measurement.

`as_published`: what the speeds that the paper reports of *one* H100 say about the stages of the
reference there. The fastest that any number of GPUs reached with one step, 64.52 fps at 512x512
and 44.38 at 480p, is that of the one which decodes, and the encoder is given the same rate of
TFLOP; what is left of a chunk with one step is the DiT, and what each further step adds is a
further row of its batch. `as_built`: this project's estimate, the same as in `slo_devices`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sdv2_host.bench.slo_devices import H100, H200, RTX_4090, WAN_1_3B, WAN_14B, Device, stage_times
from sdv2_host.errors import ConfigError
from sdv2_host.stages.work import DeviceTimes
from sdv2_host.stream.setups import VAE_TFLOP

NUM_BLOCKS = {"1.3b": 30, "14b": 40}
_TFLOP_512 = {"1.3b": 3.82, "14b": 30.1}
_TFLOP_480P = {"1.3b": 6.74, "14b": 49.9}
PAPER_FPS: dict[tuple[str, bool], tuple[tuple[float, ...], ...]] = {
    # (model, whether at 480p): 1 to 4 H100s, of each 1 to 4 steps
    ("1.3b", False): (
        (26.21, 24.02, 21.51, 19.43),
        (51.76, 46.92, 41.09, 37.49),
        (63.45, 62.76, 56.75, 54.09),
        (64.52, 63.99, 62.43, 61.57),
    ),
    ("1.3b", True): (
        (20.47, 17.97, 15.68, 13.95),
        (39.77, 34.67, 30.69, 27.06),
        (43.88, 43.79, 41.13, 38.09),
        (44.38, 43.41, 43.08, 42.26),
    ),
    ("14b", False): (
        (18.71, 13.01, 10.09, 8.26),
        (37.12, 25.72, 20.11, 16.65),
        (53.84, 37.47, 29.34, 24.35),
        (58.28, 51.09, 38.41, 31.62),
    ),
    ("14b", True): (
        (12.68, 8.64, 6.49, 5.28),
        (25.39, 17.31, 13.23, 10.69),
        (37.55, 25.02, 19.12, 15.42),
        (39.24, 33.36, 25.02, 20.05),
    ),
}
"""StreamDiffusionV2, arXiv 2511.07399v2, figures 9 and 11 on H100s, as a text copy of it gives the
bars' numbers; which of them is of how many GPUs, their order says."""
PAPER_SERIAL_FPS = {
    ("1.3b", False): (19.15, 15.14, 12.43),
    ("1.3b", True): (15.50, 12.82, 10.86),
}
"""The same, figure 15: one H100 without Stream Batch, 2 to 4 steps."""
DEVICES: dict[str, Device] = {
    "h100": H100,
    "h200": H200,
    "4090": RTX_4090,
    "3090": Device("3090", 71.0, 0.936),
}
BAND_SHARES = (1.0, 0.544, 0.409, 0.333)
"""Of the Wan decoder at 512x512, what each of 1, 2, ... decoders computes with its halo: what
`gpu/band_shares.py` counts."""
MODELS = {"1.3b": WAN_1_3B, "14b": WAN_14B}
MOST_DEVICES = 16
MS_OF_FRAMES = 4000.0
"""A chunk has four frames: these milliseconds over its own are frames per second."""


def dit_tflop(model: str, is_480p: bool) -> float:
    """Of one forward of one latent frame."""
    return (_TFLOP_480P if is_480p else _TFLOP_512)[model]


def as_published(model: str, is_480p: bool = False) -> DeviceTimes:
    """The reference on an H100, by what the paper says of one."""
    num_blocks = NUM_BLOCKS[model]
    encode_tflop, decode_tflop = VAE_TFLOP["wan"]
    decode_ms = MS_OF_FRAMES / max(row[0] for row in PAPER_FPS["1.3b", is_480p])
    encode_ms = decode_ms * encode_tflop / decode_tflop
    chunk_ms = [MS_OF_FRAMES / fps for fps in PAPER_FPS[model, is_480p][0]]
    first_row_ms = chunk_ms[0] - encode_ms - decode_ms
    further_row_ms = (chunk_ms[-1] - chunk_ms[0]) / (len(chunk_ms) - 1)
    return DeviceTimes(
        encode_ms,
        (first_row_ms / num_blocks,) * num_blocks,
        decode_ms,
        1 - further_row_ms / first_row_ms,
    )


def as_built(device: str, model: str) -> DeviceTimes:
    """This project on a device of `DEVICES`, at 512x512, as estimated."""
    times = stage_times(DEVICES[device], MODELS[model])
    num_blocks = NUM_BLOCKS[model]
    first_row_ms = times.call_ms(1)
    further_row_ms = times.call_ms(2) - first_row_ms
    return DeviceTimes(
        times.encode_ms,
        (first_row_ms / num_blocks,) * num_blocks,
        times.decode_ms,
        1 - further_row_ms / first_row_ms,
    )


def named_devices(names: str, model: str) -> list[DeviceTimes]:
    """Devices as told: names of `DEVICES`, each perhaps with a count: "h100*4" or "4090,3090".

    Raises:
        ConfigError: another name, or no number.
    """
    found: list[DeviceTimes] = []
    for part in names.lower().split(","):
        name, _, count = part.strip().partition("*")
        is_count = not count or (count.isdecimal() and 0 < int(count) <= MOST_DEVICES)
        if name not in DEVICES or not is_count:
            raise ConfigError(
                f"--devices {names!r}: {part.strip()!r} is not one of {', '.join(DEVICES)}, "
                f"perhaps with a count up to {MOST_DEVICES}, like h100*4"
            )
        found += [as_built(name, model)] * int(count or 1)
    if len(found) > MOST_DEVICES:
        raise ConfigError(f"--devices {names!r}: {len(found)} devices, at most {MOST_DEVICES}")
    return found


def read_times(path: Path) -> list[DeviceTimes]:
    """Measured times from a JSON file: a list of {"encode_ms": 37, "block_ms": [1.2, ...],
    "decode_ms": 62, "row_saving": 0.1}, one per device, the last key optional.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        rows: Any = json.loads(path.read_text())
        devices = [
            DeviceTimes(
                float(row["encode_ms"]),
                tuple(float(ms) for ms in row["block_ms"]),
                float(row["decode_ms"]),
                float(row.get("row_saving", 0.0)),
            )
            for row in rows
        ]
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{path}: expected a list of devices with encode_ms, block_ms (a list) and decode_ms, "
            f"in ms per chunk ({type(error).__name__}: {error})"
        ) from error
    problem = _problem(devices)
    if problem:
        raise ConfigError(f"{path}: {problem}")
    return devices


def _problem(devices: list[DeviceTimes]) -> str:
    if not 0 < len(devices) <= MOST_DEVICES:
        return f"{len(devices)} devices, expected 1 to {MOST_DEVICES}"
    if len({len(device.block_ms) for device in devices}) != 1 or not devices[0].block_ms:
        return "the devices must have equally many blocks, at least one"
    for device in devices:
        for ms in (device.encode_ms, *device.block_ms, device.decode_ms):
            if not 0 <= ms < 1e6:
                return f"{ms} ms, expected 0 to a million"
        if not sum(device.block_ms) > 0:
            return "the blocks of a device take 0 ms together, expected more"
        if not 0 <= device.row_saving <= 1:
            return f"row_saving {device.row_saving}, expected 0 to 1"
    return ""
