"""What the way between two machines costs a stream that runs over both, and what a cut one does.

Two devices on each of two machines, which are network namespaces of this one, and one stream over
all four: places 0 and 1 here, 2 and 3 there. Driver, processes, channels and gloo are the
product's; blocks of the model take their time and no processor (`hollow_models`). Each setting
runs in turn without the way and with it, so that the ratio says what the way costs on whatever
machine.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from sdv2_host.bench.hollow_models import NUM_BLOCKS, SIZE, BuildHollow, hollow_text
from sdv2_host.bench.ring_of_two import DEVICES_EACH, RingOfTwo, joining_here
from sdv2_host.bench.two_machines import two_machines
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.config import Config
from sdv2_host.params import Params
from sdv2_host.stages.members import MemberLimits
from sdv2_host.stages.rank_process import run_rank
from sdv2_host.stages.rank_ticket import BuildRank
from sdv2_host.stages.ring_engine import RingEngine
from sdv2_host.stages.ring_plan import RankFacts, RingPlan
from sdv2_host.stages.ring_setup import RingSetup
from sdv2_host.stages.route import MAX_STEPS, RoutePlan
from sdv2_host.stages.work import Route
from sdv2_host.types import Frame, FrameMeta, ProgressFn

NUM_PLACES = 2 * DEVICES_EACH
FRAMES_PER_CHUNK = 4
CLIP_FRAMES = 16
"""It repeats."""
PATIENT = MemberLimits(silence_s=20.0, form_s=60.0)
"""Of a machine that has fewer cores than it stands for. Where a cable is cut, what it costs depends
on these, so there they are the product's."""
LOOK_S = 0.005
ROUTES: tuple[Literal["ring"], Literal["chain"]] = ("ring", "chain")


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
    num_cuts: int
    """Of the cable, for each route."""


class Setting(NamedTuple):
    """One stream's; see `ring_of_two.Setting`."""

    route: Literal["ring", "chain"]
    lanes: int
    params: Params
    build: BuildRank
    limits: MemberLimits

    @contextmanager
    def opened(self) -> Iterator[RingEngine]:
        config = Config(
            width=SIZE.width,
            height=SIZE.height,
            devices=",".join(["cpu"] * DEVICES_EACH),
            route=self.route,
            lanes=self.lanes,
        )
        setup = RingSetup(
            config=config,
            devices=config.ring_devices,
            run_rank=run_rank,
            build=self.build,
            plan=partial(_equal_shares, self),
            num_steps=self.params.steps,
            joining=joining_here(),
            limits=self.limits,
        )
        engine = RingEngine(setup, hollow_text())
        try:
            yield engine
        finally:
            engine.close()


class Played(NamedTuple):
    came_ns: list[int]
    """When each chunk's pictures came."""
    digest: str
    """Of all pictures."""

    @property
    def chunk_ms(self) -> float:
        """Of the second half: the first fills the ring."""
        measured = self.came_ns[len(self.came_ns) // 2 :]
        return (measured[-1] - measured[0]) / NS_PER_MS / (len(measured) - 1)


def run(plan: WayPlan, progress: ProgressFn) -> dict[str, Any]:
    """`measured` on two machines of its own.

    Raises:
        ConfigError: this system or user cannot have two machines.
        WorkerError: the stream failed.
    """
    with two_machines() as machines, closing(RingOfTwo(machines)) as ring:
        return measured(plan, ring, progress)


def measured(plan: WayPlan, ring: RingOfTwo, progress: ProgressFn) -> dict[str, Any]:
    """ms for a chunk without the way and with it, by route and lanes, and what a cut cable costs
    with the most lanes; fits JSON.

    Raises:
        WorkerError: the stream failed.
    """
    settings = [_setting(plan, route, lanes) for route in ROUTES for lanes in plan.lanes]
    rows, cuts = [], []
    for number, setting in enumerate(settings):
        progress(f"{setting.route}, {setting.lanes} lanes", number / (len(settings) + 1))
        rows.append(_row(plan, ring, setting))
    progress("cutting the cable", len(settings) / (len(settings) + 1))
    ring.machines.cable.carry_in(0.0)
    for route in ROUTES if plan.num_cuts else ():
        setting = _setting(plan, route, max(plan.lanes))
        cuts += _cut_rows(plan, ring, setting._replace(limits=MemberLimits()))
    return {
        "one_way_ms": plan.one_way_ms,
        "stage_ms": plan.stage_ms,
        "steps": plan.num_steps,
        "chunks": plan.num_chunks,
        "rows": rows,
        "cuts": cuts,
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
    for cut in report["cuts"]:
        lines.append(
            f"{cut['route']:5} cut: the next picture after {cut['picture_ms']:.0f} ms; mended: "
            f"all devices are back after {cut['back_ms']:.0f} ms"
        )
    return "\n".join(lines)


def _setting(plan: WayPlan, route: Literal["ring", "chain"], lanes: int) -> Setting:
    row_ms = plan.stage_ms * NUM_PLACES / NUM_BLOCKS / plan.num_steps
    return Setting(route, lanes, _params(plan), BuildHollow(row_ms), PATIENT)


def _row(plan: WayPlan, ring: RingOfTwo, setting: Setting) -> dict[str, Any]:
    """Without the way and with it in turn, so that both see the same of whatever else the machine
    does. Of each what was fastest counts: such things only add."""
    near: list[Played] = []
    far: list[Played] = []
    for _ in range(plan.num_turns):
        for one_way_ms, turns in ((0.0, near), (plan.one_way_ms, far)):
            # Connections of its own: TCP remembers for seconds how short a way was.
            ring.machines.cable.carry_in(one_way_ms)
            with ring.stream(setting):
                turns.append(ring.on_stream(partial(_play, plan)))
    near_ms, far_ms = (min(one.chunk_ms for one in turns) for turns in (near, far))
    return {
        "route": setting.route,
        "lanes": setting.lanes,
        "near_ms": near_ms,
        "far_ms": far_ms,
        "near_turns_ms": [one.chunk_ms for one in near],
        "far_turns_ms": [one.chunk_ms for one in far],
        "ratio": far_ms / near_ms,
        "is_same": len({one.digest for one in near + far}) == 1,
    }


def _cut_rows(plan: WayPlan, ring: RingOfTwo, setting: Setting) -> list[dict[str, Any]]:
    """The cable is cut in the middle of a session, and mended after it."""
    cable, rows = ring.machines.cable, []
    with ring.stream(setting):
        for _ in range(plan.num_cuts):
            ring.begin(partial(_play, plan))
            time.sleep(plan.stage_ms / 1000 * plan.num_chunks / 2)
            cut_ns = now_ns()
            cable.cut()
            came_ns = ring.result().came_ns
            _, last_ns = max(itertools.pairwise(came_ns), key=lambda pair: pair[1] - pair[0])
            mended_ns = now_ns()
            cable.mend()
            back_ns = ring.on_stream(partial(_until_devices, NUM_PLACES))
            rows.append(
                {
                    "route": setting.route,
                    "picture_ms": (last_ns - cut_ns) / NS_PER_MS,
                    "cut_s": (mended_ns - cut_ns) / NS_PER_S,
                    "back_ms": (back_ns - mended_ns) / NS_PER_MS,
                }
            )
    return rows


# In the process that has the streams.


def _equal_shares(setting: Setting, facts: Sequence[RankFacts], num_steps: int) -> RingPlan:
    """In the order in which they came."""
    route = Route(setting.route)
    steps = num_steps if route is Route.CHAIN else MAX_STEPS
    plan = RoutePlan.even(route, steps, NUM_BLOCKS, len(facts))
    return RingPlan(tuple(fact.rank for fact in facts), plan, setting.lanes)


def _play(plan: WayPlan, engine: RingEngine) -> Played:
    """A session."""
    clip, digest = _clip(), hashlib.sha256()
    came_ns = []
    engine.reset()
    for number in range(plan.num_chunks):
        first = 1 + FRAMES_PER_CHUNK * (number - 1)
        frames = [clip[index % CLIP_FRAMES] for index in range(first, first + FRAMES_PER_CHUNK)]
        pictures = engine.step(frames if number else clip[:1], _params(plan)).frames
        digest.update(pictures.tobytes())
        if len(pictures):
            came_ns.append(now_ns())
    digest.update(engine.finish().frames.tobytes())
    return Played(came_ns, digest.hexdigest())


def _until_devices(count: int, engine: RingEngine) -> int:
    """When the ring had so many."""
    while engine.driver.standing.num_devices != count:
        time.sleep(LOOK_S)
    return now_ns()


def _params(plan: WayPlan) -> Params:
    return Params(steps=plan.num_steps)


def _clip() -> list[Frame]:
    random = np.random.default_rng(0)
    shape = (CLIP_FRAMES, SIZE.height, SIZE.width, 4)
    pixels = random.integers(0, 256, shape, dtype=np.uint8)
    return [Frame(FrameMeta(SIZE.width, SIZE.height), one) for one in pixels]
