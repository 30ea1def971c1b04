"""RingEngine: a stream over several devices behind the host's `Engine` seam."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import torch

from sdv2_host.blend import Blend
from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.config import ENGINES, Config, host_and_port
from sdv2_host.gpu.chunk_work import Finished, pixels_of
from sdv2_host.gpu.device import resolve_device, resolve_dtype
from sdv2_host.gpu.number_guard import NumberGuard
from sdv2_host.gpu.warm_up import blank_frames
from sdv2_host.params import Params, prompts_of
from sdv2_host.stages.driver import Driver
from sdv2_host.stages.exit import NOT_FINITE
from sdv2_host.stages.join_token import read_token
from sdv2_host.stages.members import MemberLimits
from sdv2_host.stages.nccl_group import payload_group_of
from sdv2_host.stages.outbox import Styled
from sdv2_host.stages.rank_build import build_rank
from sdv2_host.stages.rank_models import build_ring_text
from sdv2_host.stages.rank_process import run_rank
from sdv2_host.stages.ring_plan import Planner, RankFacts, RingPlan, measured_plan
from sdv2_host.stages.ring_setup import GivenChunk, Joining, RingSetup, RingText
from sdv2_host.stages.route_planner import RoutePlanner
from sdv2_host.stages.work import Route
from sdv2_host.stream.prompt import mixed_embedding
from sdv2_host.types import Frame, Layout, ProgressFn, Shape, Size, StyledChunk
from sdv2_host.wan.dims import FRAMES_PER_LATENT
from sdv2_host.wan.text import TextEncoder

log = logging.getLogger(__name__)

DEFAULT_LIMITS = MemberLimits()
NUM_WARM_UP_CHUNKS = 2
ANY_NUMBER = 1 << 30
MAX_OWED = 14
"""Chunks: a lock-step client has 60 frames under way then, and a frame ring has 64 slots."""
MAX_KEPT_TEXTS = 16
NO_WATCHDOG = "over several devices nobody watches the picture for drift; one device does"
LORAS = "LoRAs have no effect over several devices: start without --devices to use them"
LOOKS = "looks are not kept over several devices: start without --devices to use them"
DRIFT = "drift act has no effect over several devices: start without --devices to use it"


def build_ring_engine(
    config: Config, progress: ProgressFn, limits: MemberLimits = DEFAULT_LIMITS
) -> RingEngine:
    """The engine that `config` names, over its devices; ranks load from here on.

    Raises:
        ModelError: a file is missing or damaged.
        ConfigError: devices cannot join as is asked, or cannot talk by the transport asked for.
    """
    devices = _resolved(config)
    for device in devices:
        payload_group_of(config.transport, torch.device(device))
    text = build_ring_text(config)
    dtype = torch.float32
    if config.engine != "tiny":
        # One for all ranks: what they send each other is of that type.
        dtype = resolve_dtype(config.dtype, torch.device(devices[0]))
        config = config.model_copy(update={"dtype": str(dtype).removeprefix("torch.")})
    setup = RingSetup(
        config=config,
        devices=devices,
        run_rank=run_rank,
        build=build_rank,
        plan=_planner(config, dtype),
        num_steps=_usual_steps(config),
        joining=joining_of(config),
        limits=limits,
    )
    progress(f"starting {len(setup.devices)} devices", 0.0)
    log.warning("%s", NO_WATCHDOG)
    return RingEngine(setup, text)


def _planner(config: Config, dtype: torch.dtype) -> Planner:
    """By what ranks measured. What the stream needs, which takes seconds, is found in a thread of
    its own while they load."""
    wanted = None if config.route == "auto" else Route(config.route)
    pool = ThreadPoolExecutor(1, thread_name_prefix="need")
    planner = pool.submit(RoutePlanner, config, dtype, wanted)
    pool.shutdown(wait=False)

    def plan(facts: Sequence[RankFacts], num_steps: int) -> RingPlan:
        return measured_plan(config, planner.result(), facts, num_steps)

    return plan


def joining_of(config: Config) -> Joining | None:
    """How devices of other machines may join; None = they may not.

    Raises:
        ConfigError: the token cannot be read, or is too short.
    """
    if not config.join_listen:
        return None
    token = read_token(Path(config.join_token_file))
    address = host_and_port(config.join_listen)
    return Joining(address, token, config.join_count, config.join_wait_s)


def _usual_steps(config: Config) -> int:
    """That a stream of this engine begins with, for all that is known before its first chunk."""
    steps = ENGINES[config.engine].params.get("steps", Params().steps)
    return min(int(steps), config.num_step_rows)


class RingTexts:
    """Prompts, and blends of them, as the ranks are told them. Lifetime: an engine.

    A transition makes a blend per chunk: only the newest are kept, and one that comes again later
    gets another number.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._texts: OrderedDict[tuple[Blend, str], RingText] = OrderedDict()
        self._num_made = 0

    def of(self, params: Params) -> RingText:
        """What a chunk with these parameters is made with.

        Raises:
            ModelError: the prompt is not in the bank.
        """
        blend, mode = prompts_of(params), params.blend_mode
        text = self._texts.get((blend, mode))
        if text is None:
            embedding_1LE = mixed_embedding(blend, mode, self._encoder)
            text = RingText(self._num_made, embedding_1LE)
            self._num_made += 1
            self._texts[blend, mode] = text
            if len(self._texts) > MAX_KEPT_TEXTS:
                self._texts.popitem(last=False)
        return text


class RingEngine:
    """An `Engine`. `step` gives frames to the ring and returns what has come out of it: nothing at
    first, later what was given some chunks ago, as many as keep the devices at work.

    A device that is lost costs time and no picture, while one is left: see `driver.py`.
    """

    first_chunk_frames = 1
    chunk_frames = FRAMES_PER_LATENT
    layout = Layout.BATCH
    step_ms: Mapping[Shape, float] = MappingProxyType({})

    def __init__(self, setup: RingSetup, text: TextEncoder) -> None:
        """The ranks are started, and load.

        Raises:
            ConfigError: nothing can listen where others are to join.
        """
        self._config = setup.config
        self._size = setup.config.size
        self._texts = RingTexts(text)
        self._guard = NumberGuard(setup.config.engine)
        self._most_owed = 1
        self.driver = Driver(setup)

    @property
    def name(self) -> str:
        return self._config.engine

    @property
    def size(self) -> Size | None:
        return self._size

    @property
    def delay_frames(self) -> int:
        """Known after `warm_up`. A ring of fewer devices holds back no more than the first did."""
        return self.chunk_frames * (self._most_owed + 1) - 1

    @property
    def most_behind(self) -> int:
        return self._most_owed

    def warm_up(self, params: Params, progress: ProgressFn) -> None:
        """Every device is ready and has run; a reset ends it.

        Raises:
            HostError: no device could be made ready.
        """
        self.driver.wait_formed(progress)
        wanted = self.driver.most_in_flight(self._config.num_step_rows)
        self._most_owed = min(wanted, MAX_OWED)
        progress("warming up", 0.0)
        self.step(blank_frames(self._size, self.first_chunk_frames), params)
        for _ in range(NUM_WARM_UP_CHUNKS):
            self.step(blank_frames(self._size, self.chunk_frames), params)
        self.finish()
        self.reset()
        self._guard.warmed()
        progress("warm", 1.0)

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        """Waits only while the ring holds all that it is given at once.

        Spans: ring, the time that was waited. Notes: those of the newest chunk that came, and
        ring_devices, ring_epoch and ring_lost, the number of devices that were lost so far.

        Raises:
            HostError: no device is left.
            ModelError: the prompt is not in the bank.
        """
        del layout  # the ring has one of its own
        begin_ns = now_ns()
        self.driver.give(GivenChunk(frames, params, self._texts.of(params)))
        most_owed = min(self._most_owed, self.driver.most_in_flight(params.steps))
        styled = self._styled(self.driver.take(most_owed), begin_ns)
        problems = [styled.problem, *_not_offered(params)]
        return replace(
            styled,
            problem="; ".join(filter(None, problems)),
            look_serial=params.looks[-1].serial if params.looks else 0,
        )

    def collect(self) -> StyledChunk:
        """
        Raises:
            HostError: no device is left.
        """
        return self._styled(self.driver.take(ANY_NUMBER), now_ns())

    def finish(self) -> StyledChunk:
        """Waits for the ring to be empty.

        Raises:
            HostError: no device is left.
        """
        return self._styled(self.driver.take(most_owed=0), now_ns())

    def reset(self) -> None:
        self.driver.begin_session()

    def close(self) -> None:
        """No process is left. Not needed before a process ends: its ranks end with it."""
        self.driver.close()

    def _styled(self, done: list[Styled], begin_ns: int) -> StyledChunk:
        sifted = self._guard.sift(
            [Finished(NOT_FINITE not in one.notes, one.pixels, None, {}) for one in done]
        )
        done = done[: len(sifted.sound)]
        if sifted.is_broken:
            self.reset()
        standing = self.driver.standing
        notes = {
            **(done[-1].notes if done else {}),
            "ring_devices": float(standing.num_devices),
            "ring_epoch": float(standing.epoch),
            "ring_lost": float(standing.num_lost),
        }
        return StyledChunk(
            pixels_of(sifted.sound, self._size),
            {"ring": (now_ns() - begin_ns) / NS_PER_MS},
            notes,
            "; ".join(filter(None, (standing.trouble, self._guard.problem))),
            ends_session=sifted.is_broken,
        )


def _not_offered(params: Params) -> list[str]:
    """What of the parameters has no effect, and what to do."""
    wants = {
        LORAS: bool(params.lora),
        LOOKS: bool(params.looks) and params.looks[-1].verb != "forget",
        DRIFT: params.drift == "act",
    }
    return [text for text, is_wanted in wants.items() if is_wanted]


def _resolved(config: Config) -> tuple[str, ...]:
    """Without 'auto'.

    Raises:
        DeviceError: one is not there.
    """
    if config.engine == "tiny":
        return ("cpu",) * len(config.ring_devices)
    return tuple(str(resolve_device(name, "--devices")) for name in config.ring_devices)
