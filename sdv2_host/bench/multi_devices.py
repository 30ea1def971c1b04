"""Stage times of GPUs for simulations of many, as models with stated sources; no measurement.

`as_published`: what the paper's own figures imply of the reference on an H100. 64.52 fps at
512x512 and 42.26 at 480p, independent of the number of steps, are those of one rank that decodes
8.88 TFLOP per chunk of 4 frames at 143 TFLOP/s; the encoder (5.27 TFLOP) is given the same rate.
The DiT's rate, 133 TFLOP/s with 1.3B and 400 with 14B, is from the figures at 4 steps and assumed,
in this order. `as_built`: this project's estimate, the same as in `slo_devices`.
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
DIT_TFLOP = {"1.3b": 3.82, "14b": 30.1}
PUBLISHED_DIT_TFLOPS = {"1.3b": 133.0, "14b": 400.0}
PUBLISHED_VAE_TFLOPS = 143.0
PIXELS_512 = 512 * 512
SIZE_480P = (832, 480)
DIT_480P = {"1.3b": 6.74 / 3.82, "14b": 49.9 / 30.1}
"""More than the pixels' 1.52: attention grows with their square."""
DEVICES: dict[str, Device] = {
    "h100": H100,
    "h200": H200,
    "4090": RTX_4090,
    "3090": Device("3090", 71.0, 0.936),
}
BAND_SHARES = (1.0, 0.543, 0.409, 0.332)
"""Of the Wan decoder at 512x512, what each of 1, 2, ... decoders computes with its halo: what
`gpu/band_shares.py` counts."""
MODELS = {"1.3b": WAN_1_3B, "14b": WAN_14B}
MOST_DEVICES = 16


def as_published(model: str, *, is_480p: bool = False) -> DeviceTimes:
    """The reference on an H100, by the paper's figures."""
    vae = SIZE_480P[0] * SIZE_480P[1] / PIXELS_512 if is_480p else 1.0
    dit = DIT_480P[model] if is_480p else 1.0
    num_blocks = NUM_BLOCKS[model]
    step_ms = 1000 * DIT_TFLOP[model] * dit / PUBLISHED_DIT_TFLOPS[model]
    encode_tflop, decode_tflop = VAE_TFLOP["wan"]
    return DeviceTimes(
        1000 * encode_tflop * vae / PUBLISHED_VAE_TFLOPS,
        (step_ms / num_blocks,) * num_blocks,
        1000 * decode_tflop * vae / PUBLISHED_VAE_TFLOPS,
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
