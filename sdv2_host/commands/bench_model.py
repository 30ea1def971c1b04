"""`sdv2-host bench model`: which cells are asked for; runs them, keeps what there is after each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sdv2_host.bench import model_matrix, model_report
from sdv2_host.bench.against import RIVALS, require
from sdv2_host.bench.model_cell import RunLength
from sdv2_host.bench.model_matrix import Matrix
from sdv2_host.commands.kept_report import KeepFn, Result, report_rows
from sdv2_host.commands.narrator import Narrator
from sdv2_host.commands.settings import check_choice, check_range, make_config
from sdv2_host.config_checks import parse_size
from sdv2_host.errors import ConfigError
from sdv2_host.gpu.cpu_threads import set_threads
from sdv2_host.gpu.device import device_name, resolve_device, resolve_dtype
from sdv2_host.stream.setups import VAE_LADDER
from sdv2_host.types import Size

ENGINES = ("tiny", "wan-1.3b", "wan-14b")
WAN_SIZES = (Size(512, 512), Size(832, 480))
STEPS = (1, 2, 4)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that say what is measured, as typed; None = not given."""

    engine: str | None
    size: str | None
    steps: str | None
    vae: str | None
    device: str | None
    dtype: str | None
    settings: Mapping[str, str | None]
    """Further start-up settings."""
    against: str | None

    def rivals(self) -> list[str]:
        """Whom the cells are to be set beside.

        Raises:
            ConfigError: one is unknown, or not installed.
        """
        names = _listed(self.against, "--against", (), _one_of("--against", RIVALS))
        for name in names:
            require(name)
        return names

    def matrix(self, length: RunLength) -> Matrix:
        """What is to be measured.

        Raises:
            ConfigError: a value is unknown, or of no use with the others.
            DeviceError: the device is not there.
        """
        settings = {name: value for name, value in self.settings.items() if value is not None}
        config = make_config({"device": self.device, "dtype": self.dtype, **settings})
        device = resolve_device(config.device)
        usual = ENGINES[:1] if device.type == "cpu" else ENGINES[1:]
        engines = _listed(self.engine, "--engine", usual, _one_of("--engine", ENGINES))
        is_tiny_alone = engines == ["tiny"]
        if is_tiny_alone and self.vae is not None:
            raise ConfigError(f"--vae {self.vae}: the embedded model has one of its own, leave it")
        if is_tiny_alone and config.device not in ("auto", "cpu"):
            raise ConfigError(f"--device {config.device}: the embedded model runs on the CPU only")
        of_wan = {name: value for name, value in settings.items() if name != "compile"}
        if is_tiny_alone and of_wan:
            given = " ".join(f"--{name} {value}" for name, value in of_wan.items())
            raise ConfigError(f"{given}: of the Wan engines only, name one with --engine")
        sizes = () if is_tiny_alone else WAN_SIZES
        return Matrix(
            engines,
            _listed(self.size, "--size", sizes, lambda text: parse_size(text, "--size")),
            _listed(self.steps, "--steps", STEPS, _steps),
            _listed(self.vae, "--vae", VAE_LADDER, _one_of("--vae", VAE_LADDER)),
            device,
            resolve_dtype(config.dtype, device),
            length,
            tuple(settings.items()),
        )


def _listed(
    text: str | None, option: str, usual: tuple[_T, ...], read: Callable[[str], _T]
) -> list[_T]:
    """The values between commas, each once; the usual ones where none are given.

    Raises:
        ConfigError: there is nothing between two commas, or `read` refuses it.
    """
    if text is None:
        return list(usual)
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ConfigError(f"{option} {text!r}: expected values with a comma between two of them")
    return list(dict.fromkeys(read(part) for part in parts))


def _one_of(option: str, allowed: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        check_choice(option, text, allowed)
        return text

    return read


def _steps(text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"--steps {text}: expected 1..4, several with commas between them")
    check_range("--steps", int(text), 1, 4)
    return int(text)


def bench_model(
    asked: Asked, length: RunLength, threads: int, json_path: Path | None, out: Path | None
) -> None:
    """Measures every cell, prints the table; JSON after each cell, in `out` model.json, model.png.
    Ctrl-C ends it after the cells that are done, with all of that.

    Raises:
        HostError: an option is wrong, or a file cannot be written.
    """
    matrix, rivals = asked.matrix(length), asked.rivals()
    set_threads(threads)
    cells = matrix.cells()
    count = "one setup" if len(cells) == 1 else f"{len(cells)} setups"
    engines = ", ".join(matrix.engines)

    def measure(narrator: Narrator, keep: KeepFn) -> Result:
        narrator.say(f"measuring {count} of {engines} on {device_name(matrix.device)}")
        return model_matrix.run(cells, length, narrator.progress, keep, rivals=rivals)

    json_path = json_path or (out / "model.json" if out is not None else None)
    png = out / "model.png" if out is not None else None
    report_rows(measure, model_report.format_table, model_report.draw, json_path, png)
