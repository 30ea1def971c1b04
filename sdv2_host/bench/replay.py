"""Is a replay the show, bit for bit? A session of minutes, made as fast as it goes, with everything
that can change changed at random, recorded, and made again from its files.

The recording begins in the middle of a session, and halfway another worker takes over, as after a
crash. The worker's own loop is left out: which frames go into a chunk hangs on the clock, and what
counts here is that whatever went in comes out again.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.commands.replay import Changes, replay_show
from sdv2_host.config import Config
from sdv2_host.errors import WorkerError
from sdv2_host.host.engines import build_engine
from sdv2_host.host.show_engine import RecordedEngine
from sdv2_host.look_orders import LookOrder
from sdv2_host.models.store import lora_dir
from sdv2_host.param_table import PARAMS, ParamSpec, ParamValue
from sdv2_host.param_values import apply
from sdv2_host.params import Params
from sdv2_host.types import (
    Frame,
    FrameMeta,
    Layout,
    Orientation,
    PixelFormat,
    ProgressFn,
    Size,
)
from sdv2_host.wan.dims import TINY_DIT

PROMPTS = (
    "neon outline",
    "watercolor painting",
    "ink drawing",
    "gold | ink drawing",
    "gold:3 | ink drawing:1 | neon outline",
    "",
)
LORAS = ("", "", "first:0.8", "second:0.5, first:0.3")
LOOKS = ("a", "b")
NUM_ORDERS = 4
"""Of looks, that the host sends with every snapshot."""
SOURCE = Size(96, 72)
EARLIER_CHUNKS = 6
"""Before the recording begins."""
CHANGED_AT_ONCE = 3
MIB = 1 << 20
CLOSE_S = 600.0


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    minutes: float
    """Of the source's time."""
    num_changes: int
    size: Size
    fps: float = 30.0
    seed: int = 0
    threads: int = 0

    @property
    def num_frames(self) -> int:
        return round(self.minutes * 60 * self.fps)


@dataclass(slots=True)
class ReplayResult:
    """What was recorded, and what came of it."""

    minutes: float
    size: str
    num_chunks: int = 0
    num_changes: int = 0
    num_values: int = 0
    """Of parameters that were changed."""
    parameters: list[str] = field(default_factory=list)
    """Which, by name."""
    num_sessions: int = 0
    num_stalls: int = 0
    num_parts: int = 0
    show_mib: float = 0.0
    recorded_s: float = 0.0
    replayed_s: float = 0.0
    num_pictures: int = 0
    num_equal: int = 0
    num_missing: int = 0
    """Of the show, that could not be made again."""
    first_other: str = ""
    verdict: str = ""
    """In words."""


def run(plan: ReplayPlan, progress: ProgressFn) -> dict[str, Any]:
    """Records and replays; the result as plain values."""
    with tempfile.TemporaryDirectory(prefix="sdv2-replay-") as folder:
        models_dir = Path(folder) / "models"
        _write_loras(lora_dir(models_dir))
        show = Path(folder) / "bench.show"
        result = ReplayResult(plan.minutes, str(plan.size))
        begin_ns = now_ns()
        _Performance(plan, show, models_dir, result).play(progress)
        result.recorded_s = round((now_ns() - begin_ns) / NS_PER_S, 1)
        files = [path for path in show.rglob("*") if path.is_file()]
        result.show_mib = round(sum(path.stat().st_size for path in files) / MIB, 1)
        result.num_parts = sum(path.name == "part.json" for path in files)
        begin_ns = now_ns()
        verdict = replay_show(show, None, Changes(models_dir=str(models_dir)), verify=True)
        result.replayed_s = round((now_ns() - begin_ns) / NS_PER_S, 1)
        result.num_pictures, result.num_equal = verdict.num_pictures, verdict.num_equal
        result.num_missing, result.first_other = verdict.num_missing, verdict.first_other
        result.verdict = verdict.text
    return asdict(result)


def format_table(result: dict[str, Any]) -> str:
    """For a person."""
    lines = [
        str(result["verdict"]),
        f"{result['minutes']:g} minutes at {result['size']}: {result['num_chunks']} chunks, "
        f"{result['num_sessions']} sessions, {result['num_stalls']} stalls, "
        f"{result['num_parts']} parts",
        f"{result['num_changes']} changes of {result['num_values']} values: "
        f"{', '.join(result['parameters'])}",
        f"{result['show_mib']:g} MiB; recorded in {result['recorded_s']:g} s, "
        f"replayed in {result['replayed_s']:g} s",
    ]
    if result["first_other"]:
        lines.append(f"the first that differs: {result['first_other']}")
    return "\n".join(lines)


class _Performance:
    """One session of a VJ in a great hurry.

    Fields, for the performance: its random numbers; parameters and orders so far; frames given.
    """

    def __init__(
        self, plan: ReplayPlan, show: Path, models_dir: Path, result: ReplayResult
    ) -> None:
        self._plan = plan
        self._show = str(show)
        self._config = Config(
            width=plan.size.width,
            height=plan.size.height,
            threads=plan.threads,
            compile="off",
            models_dir=str(models_dir),
        )
        self._random = random.Random(plan.seed)
        self._params = Params(prompt=PROMPTS[0])
        self._layout = Layout.SERIAL
        self._num_latents = 1
        self._num_orders = 0
        self._num_frames = 0
        self._names: set[str] = set()
        self._result = result

    def play(self, progress: ProgressFn) -> None:
        """All of it is recorded."""
        num_frames = self._plan.num_frames
        engine = self._worker(progress)
        for index in range(EARLIER_CHUNKS):
            engine.step(self._frames(4 if index else 1), self._params, self._layout)
        begin = self._num_frames
        self._params = self._params.model_copy(update={"show": self._show})
        is_first, has_swapped = False, False
        while (done := self._num_frames - begin) < num_frames:
            if done >= num_frames // 2 and not has_swapped:
                _close(engine)
                engine, is_first, has_swapped = self._worker(progress), True, True
            if self._result.num_changes < self._plan.num_changes * done / num_frames:
                is_first = self._change(engine) or is_first
            count = 4 * self._num_latents + (1 - 4) * is_first
            engine.step(self._frames(count), self._params, self._layout)
            self._result.num_sessions += is_first
            self._result.num_chunks += 1
            is_first = False
            if self._result.num_chunks % 20 == 0:
                progress(f"recording, {self._result.num_changes} changes", done / num_frames)
        engine.finish()
        _close(engine)
        self._result.parameters = sorted(self._names)

    def _worker(self, progress: ProgressFn) -> RecordedEngine:
        engine = build_engine(self._config, progress)
        engine.warm_up(self._params, progress)
        return RecordedEngine(engine, self._config, self._params)

    def _change(self, engine: RecordedEngine) -> bool:
        """Something is other from the next chunk on; whether it begins a session."""
        self._result.num_changes += 1
        chosen = self._random
        names = chosen.sample(sorted(_CHANGED), chosen.randint(1, CHANGED_AT_ONCE))
        patch = {name: self._value(PARAMS[name]) for name in names}
        self._names.update(names)
        self._result.num_values += len(names)
        self._params = apply(self._params, patch)
        self._layout = chosen.choice([Layout.SERIAL, Layout.BATCH])
        self._num_latents = chosen.choice([1, 1, 1, 2])
        what = chosen.random()
        if what < 0.1:
            self._order_look()
        elif what < 0.2:
            engine.finish()
            self._result.num_stalls += 1
        elif what < 0.25:
            engine.reset()
            return True
        return False

    def _order_look(self) -> None:
        self._num_orders += 1
        verb = self._random.choice(["save", "recall", "forget"])
        name = self._random.choice(LOOKS)
        order = LookOrder.model_validate({"serial": self._num_orders, "verb": verb, "name": name})
        looks = (*self._params.looks, order)[-NUM_ORDERS:]
        self._params = self._params.model_copy(update={"looks": looks})
        self._names.add("looks")

    def _value(self, spec: ParamSpec) -> ParamValue:
        chosen = self._random
        if spec.name in ("prompt", "prompt_b"):
            return chosen.choice(PROMPTS)
        if spec.name == "lora":
            return chosen.choice(LORAS)
        if spec.choices:
            return chosen.choice(spec.choices)
        if spec.kind is bool:
            return chosen.random() < 0.5
        assert spec.minimum is not None, f"{spec.name} lacks a range"
        assert spec.maximum is not None, f"{spec.name} lacks a range"
        if spec.kind is int:
            return chosen.randint(round(spec.minimum), round(spec.maximum))
        return round(chosen.uniform(spec.minimum, spec.maximum), 3)

    def _frames(self, count: int) -> list[Frame]:
        return [self._frame() for _ in range(count)]

    def _frame(self) -> Frame:
        """As TouchDesigner and OBS send them: bottom row first, blue first."""
        self._num_frames += 1
        capture_ns = round(self._num_frames / self._plan.fps * NS_PER_S)
        meta = FrameMeta(
            *SOURCE,
            PixelFormat.BGRA8,
            orientation=Orientation.BOTTOM_FIRST,
            frame=self._num_frames,
            capture_ts_ns=capture_ns,
        )
        return Frame(meta, _picture(self._num_frames))


_CHANGED = frozenset(
    name
    for name, spec in PARAMS.items()
    if not spec.swaps_engine and name not in ("record", "record_show")
)
"""All but those that are another worker's start, and recording itself."""


def _close(engine: RecordedEngine) -> None:
    """All is on the disk, however slow that is.

    Raises:
        WorkerError: it is not all there.
    """
    engine.close(CLOSE_S)
    for news in engine.take_news():
        if news.has_failed:
            raise WorkerError(news.text)


def _picture(number: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[0 : SOURCE.height, 0 : SOURCE.width]
    moved = x + 2 * number
    ball = (x - 10 - number % 70) ** 2 + (y - 36) ** 2 < 150
    channels = [moved * 3, y * 2 + number // 40 * 9, np.where(ball, 250, (moved ^ y) * 2)]
    picture = np.stack([*channels, np.full_like(x, 255)], axis=-1)
    return picture.astype(np.uint8)


def _write_loras(folder: Path) -> None:
    """Two small ones for the embedded model, of random numbers."""
    folder.mkdir(parents=True)
    dim = TINY_DIT.dim
    for seed, name in enumerate(("first", "second")):
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for block in range(TINY_DIT.num_layers):
            for layer in ("self_attn.q", "self_attn.o", "cross_attn.k"):
                key = f"diffusion_model.blocks.{block}.{layer}"
                tensors[f"{key}.lora_A.weight"] = torch.randn(2, dim, generator=generator) * 0.3
                tensors[f"{key}.lora_B.weight"] = torch.randn(dim, 2, generator=generator) * 0.3
        save_file(tensors, str(folder / f"{name}.safetensors"))
