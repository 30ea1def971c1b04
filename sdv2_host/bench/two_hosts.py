"""What the way between two machines costs a stream that runs over both.

Two devices on each of two machines, which are network namespaces of this one, and one stream over
all four: places 0 and 1 here, 2 and 3 there. Driver, processes, channels and gloo are the
product's; blocks of the model take their time and no processor (`hollow_models`). Each setting
runs in turn without the way and with it, in the same processes, so that the ratio says what the
way costs on whatever machine.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple

import numpy as np

from sdv2_host.bench.hollow_models import NUM_BLOCKS, SIZE, BuildHollow, hollow_text
from sdv2_host.bench.lent_devices import Invitation, lend
from sdv2_host.bench.two_machines import ADDRESSES, Cable, Program, TwoMachines, two_machines
from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.config import Config
from sdv2_host.params import Params
from sdv2_host.stages.members import MemberLimits
from sdv2_host.stages.rank_process import run_rank
from sdv2_host.stages.rank_ticket import BuildRank
from sdv2_host.stages.ring_engine import RingEngine, even_plan
from sdv2_host.stages.ring_setup import Joining, RingSetup
from sdv2_host.stages.work import Route
from sdv2_host.types import Frame, FrameMeta, ProgressFn

DEVICES_EACH = 2
NUM_PLACES = 2 * DEVICES_EACH
PATIENCE_S = 120.0
TOKEN = "of a bench on this machine alone"
FRAMES_PER_CHUNK = 4
CLIP_FRAMES = 16
"""It repeats."""
LIMITS = MemberLimits(silence_s=20.0, form_s=60.0)
"""Of a machine that has fewer cores than it stands for."""


@dataclass(frozen=True, slots=True)
class WayPlan:
    one_way_ms: float
    stage_ms: float
    """What each place's blocks take for a chunk."""
    num_steps: int
    lanes: tuple[int, ...]
    num_chunks: int
    """Of each turn."""
    num_turns: int
    """Without the way and with it, each."""


class Setting(NamedTuple):
    route: Literal["ring", "chain"]
    lanes: int
    num_steps: int
    build: BuildRank


class Played(NamedTuple):
    chunk_ms: float
    digest: str
    """Of all pictures."""


def run(plan: WayPlan, progress: ProgressFn) -> dict[str, Any]:
    """ms for a chunk without the way and with it, by route and lanes; fits JSON.

    Raises:
        ConfigError: this system or user cannot have two machines.
        WorkerError: the stream failed.
    """
    row_ms = plan.stage_ms * NUM_PLACES / NUM_BLOCKS / plan.num_steps
    build = BuildHollow(row_ms)
    settings = list(itertools.product(Route, plan.lanes))
    rows = []
    with two_machines() as machines, _both_sides(machines, build) as sides:
        for number, (route, lanes) in enumerate(settings):
            progress(f"{route.value}, {lanes} lanes", number / len(settings))
            setting = Setting(route.value, lanes, plan.num_steps, build)
            rows.append(_row(plan, machines.cable, sides, setting))
    return {
        "one_way_ms": plan.one_way_ms,
        "stage_ms": plan.stage_ms,
        "steps": plan.num_steps,
        "chunks": plan.num_chunks,
        "rows": rows,
    }


def format_table(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"{NUM_PLACES} devices on two machines, {report['steps']} steps, {report['stage_ms']:g} ms "
        f"a stage; ms for a chunk without a way, and with {report['one_way_ms']:g} ms"
    ]
    for row in report["rows"]:
        same = "same pictures" if row["is_same"] else "OTHER PICTURES"
        lines.append(
            f"{row['route']:5} {row['lanes']:2} lanes: {row['near_ms']:6.1f} "
            f"{row['far_ms']:6.1f}, {100 * (row['ratio'] - 1):+.0f} %, {same}"
        )
    return "\n".join(lines)


class Sides(NamedTuple):
    """The processes on the two machines."""

    streams: Program
    lender: Program


@contextmanager
def _both_sides(machines: TwoMachines, build: BuildRank) -> Iterator[Sides]:
    with (
        closing(Program(machines.first, _have_streams)) as streams,
        closing(Program(machines.second, lend, DEVICES_EACH, build)) as lender,
    ):
        yield Sides(streams, lender)


def _row(plan: WayPlan, cable: Cable, sides: Sides, setting: Setting) -> dict[str, Any]:
    """Without the way and with it in turn, so that both see the same of whatever else the machine
    does. Of each what was fastest counts: such things only add."""
    streams, lender = sides
    cable.carry_in(0.0)
    streams.tell(setting)
    lender.tell(streams.hear())
    says = streams.hear()
    near: list[Played] = []
    far: list[Played] = []
    for _ in range(plan.num_turns):
        for one_way_ms, turns in ((0.0, near), (plan.one_way_ms, far)):
            cable.carry_in(one_way_ms)
            streams.tell(plan)
            turns.append(streams.hear())
    streams.tell(None)
    lender.tell(streams.hear())
    near_ms, far_ms = (min(one.chunk_ms for one in turns) for turns in (near, far))
    return {
        "route": setting.route,
        "lanes": setting.lanes,
        "says": says,
        "near_ms": near_ms,
        "far_ms": far_ms,
        "near_turns_ms": [one.chunk_ms for one in near],
        "far_turns_ms": [one.chunk_ms for one in far],
        "ratio": far_ms / near_ms,
        "is_same": len({one.digest for one in near + far}) == 1,
    }


def _have_streams(orders: Connection) -> None:
    """For each setting that comes: says where devices may join, says who runs what when all have,
    plays for each plan that comes, and closes at None."""
    try:
        while True:
            with _opened(orders.recv()) as engine:
                orders.send(Invitation(engine.driver.join_address, TOKEN))
                engine.warm_up(Params(), lambda text, fraction: None)
                orders.send(engine.driver.standing.says)
                while (plan := orders.recv()) is not None:
                    orders.send(_play(engine, plan))
            orders.send(None)
    except EOFError:
        pass


@contextmanager
def _opened(setting: Setting) -> Iterator[RingEngine]:
    """Devices of this machine are started; others may join."""
    config = Config(
        width=SIZE.width,
        height=SIZE.height,
        devices=",".join(["cpu"] * DEVICES_EACH),
        route=setting.route,
        lanes=setting.lanes,
    )
    setup = RingSetup(
        config=config,
        devices=config.ring_devices,
        run_rank=run_rank,
        build=setting.build,
        plan=partial(even_plan, config),
        num_steps=setting.num_steps,
        joining=Joining((ADDRESSES[0], 0), TOKEN, DEVICES_EACH, PATIENCE_S),
        limits=LIMITS,
    )
    engine = RingEngine(setup, hollow_text())
    try:
        yield engine
    finally:
        engine.close()


def _play(engine: RingEngine, plan: WayPlan) -> Played:
    """A session. The time is that of its second half: the first fills the ring."""
    clip, digest = _clip(), hashlib.sha256()
    params = Params(steps=plan.num_steps)
    came_ns = []
    engine.reset()
    for number in range(plan.num_chunks):
        first = 1 + FRAMES_PER_CHUNK * (number - 1)
        frames = [clip[index % CLIP_FRAMES] for index in range(first, first + FRAMES_PER_CHUNK)]
        digest.update(engine.step(frames if number else clip[:1], params).frames.tobytes())
        came_ns.append(now_ns())
    digest.update(engine.finish().frames.tobytes())
    measured = came_ns[plan.num_chunks // 2 :]
    chunk_ms = (measured[-1] - measured[0]) / NS_PER_MS / (len(measured) - 1)
    return Played(chunk_ms, digest.hexdigest())


def _clip() -> list[Frame]:
    random = np.random.default_rng(0)
    shape = (CLIP_FRAMES, SIZE.height, SIZE.width, 4)
    pixels = random.integers(0, 256, shape, dtype=np.uint8)
    return [Frame(FrameMeta(SIZE.width, SIZE.height), one) for one in pixels]
