"""Looks in an engine: orders are done once, between two chunks, and what cannot be is told."""

from __future__ import annotations

import numpy as np
import pytest

from sdv2_host.gpu.engine import StreamEngine
from sdv2_host.gpu.look_shelf import LookShelf
from sdv2_host.gpu.tiny_engine import tiny_engine, tiny_spec
from sdv2_host.look_orders import LookOrder
from sdv2_host.params import Params
from sdv2_host.stream.snapshot import state_bytes
from sdv2_host.stream.spec import Layout
from sdv2_host.types import Frame, FrameMeta, Size
from sdv2_host.wan.tiny_weights import TinyModels

SIZE = Size(64, 48)
SAVE = LookOrder(serial=1, verb="save", name="a")
RECALL = LookOrder(serial=2, verb="recall", name="a")
FORGET = LookOrder(serial=3, verb="forget", name="a")
AGAIN = LookOrder(serial=4, verb="recall", name="a")
NEON = Params(prompt="neon outline")


def with_orders(params: Params, *orders: LookOrder) -> Params:
    return params.model_copy(update={"looks": orders})


def frames(count: int, seed: int) -> list[Frame]:
    random = np.random.default_rng(seed)
    shape = (count, *SIZE[::-1], 4)
    pictures = random.integers(0, 256, shape, dtype=np.uint8)
    return [Frame(FrameMeta(*SIZE), picture) for picture in pictures]


def begun(models: TinyModels, layout: Layout = Layout.SERIAL) -> StreamEngine:
    engine = tiny_engine(models, tiny_spec({}, SIZE, layout=layout))
    for index in range(6):
        engine.step(frames(4 if index else 1, index), NEON)
    return engine


@pytest.mark.parametrize(("layout", "num_same"), [(Layout.SERIAL, 12), (Layout.BATCH, 8)])
def test_a_recalled_look_equals_having_gone_on(
    models: TinyModels, layout: Layout, num_same: int
) -> None:
    """And no frame is lost: in a batch, those in flight come out first."""
    engine = begun(models, layout)
    gone_on = [engine.step(frames(4, 100), with_orders(NEON, SAVE)).frames]
    gone_on += [engine.step(frames(4, seed), with_orders(NEON, SAVE)).frames for seed in (101, 102)]
    other = with_orders(Params(prompt="gold", seed=5, steps=3), SAVE)
    num_out = sum(len(engine.step(frames(4, seed), other).frames) for seed in range(200, 204))

    params = with_orders(NEON, SAVE, RECALL)
    recalled = [engine.step(frames(4, seed), params).frames for seed in (100, 101, 102)]

    first, expected = np.concatenate(recalled), np.concatenate(gone_on)
    assert np.array_equal(first[-num_same:], expected[-num_same:])
    assert num_out + len(first) + len(expected) == 40


def test_an_order_is_done_once(models: TinyModels) -> None:
    engine = begun(models)
    params = with_orders(NEON, SAVE, RECALL)

    first, second = (engine.step(frames(4, 100), params).frames for _ in range(2))

    assert not np.array_equal(first, second)


def test_what_is_asked_before_the_first_chunk_is_done_after_it(models: TinyModels) -> None:
    engine = begun(models)
    engine.reset()

    counts = [len(engine.step(frames(n, 7), with_orders(NEON, SAVE)).frames) for n in (1, 4)]
    recalled = engine.step(frames(4, 7), with_orders(NEON, SAVE, RECALL))

    assert counts == [1, 4]
    assert recalled.problem == ""


def test_a_look_that_is_not_there_is_told_with_those_that_are(models: TinyModels) -> None:
    engine = begun(models)
    other = LookOrder(serial=2, verb="save", name="b")

    engine.step(frames(4, 1), with_orders(NEON, SAVE, other))
    gone = engine.step(frames(4, 2), with_orders(NEON, SAVE, other, FORGET, AGAIN))

    assert gone.problem == "no look 'a' in this engine's memory, there are b"


def test_orders_for_the_worker_before_are_not_done(models: TinyModels) -> None:
    engine = tiny_engine(models, tiny_spec({}, SIZE))
    params = with_orders(NEON, SAVE, RECALL)
    engine.warm_up(params, lambda _what, _fraction: None)
    engine.step(frames(1, 0), params)

    styled = engine.step(frames(4, 1), with_orders(NEON, SAVE, RECALL, FORGET))

    assert styled.problem == "no look 'a' in this engine's memory, there are none"


def test_a_look_too_many_is_refused_and_room_can_be_made(models: TinyModels) -> None:
    state = begun(models).pipeline.fresh_state()
    shelf = LookShelf(lambda: 1 << 40, max_bytes=state_bytes(state) * 3 // 2)

    shelf.do_(SAVE, state)
    shelf.do_(LookOrder(serial=2, verb="save", name="b"), state)
    refused = shelf.problem
    shelf.do_(FORGET, state)
    shelf.do_(LookOrder(serial=5, verb="save", name="b"), state)

    assert "look 'b' needs" in refused
    assert "/sdv2/look/forget makes room" in refused
    assert shelf.problem == ""


def test_a_look_that_would_leave_too_little_for_a_step_is_refused(models: TinyModels) -> None:
    state = begun(models).pipeline.fresh_state()
    spare = [state_bytes(state), state_bytes(state) - 1, 10 * state_bytes(state)]
    shelf = LookShelf(lambda: spare.pop(0))

    shelf.do_(SAVE, state)
    shelf.do_(LookOrder(serial=2, verb="save", name="b"), state)
    refused = shelf.problem
    shelf.do_(LookOrder(serial=3, verb="save", name="c"), state)

    assert refused.startswith("look 'b' is not saved: it needs 0 MiB, and the device has 0 beside")
    assert shelf.names == ("a", "c")
    assert shelf.problem == ""


class FullDevice:
    """A `Headroom` with so much to spare."""

    def __init__(self, spare: int) -> None:
        self._spare = spare

    def spare_bytes(self) -> int:
        return self._spare


@pytest.mark.parametrize(("missing", "names"), [(0, ("a",)), (1, ())])
def test_a_look_leaves_room_for_prompts_to_come(
    models: TinyModels, missing: int, names: tuple[str, ...]
) -> None:
    engine = begun(models)
    spec, state = engine.pipeline.spec, engine._state
    text_bytes = sum(part.nbytes for kv in state.texts.entries[NEON.prompt] for part in kv)
    num_to_come = spec.num_prompts - 1 + spec.num_rows - 1
    needed = state_bytes(state) + num_to_come * text_bytes
    engine._headroom = FullDevice(needed - missing)  # type: ignore[assignment]

    saved = engine.step(frames(4, 50), with_orders(NEON, SAVE))

    assert saved.looks == names


def test_saving_over_a_look_needs_no_memory_and_is_the_newer_one(models: TinyModels) -> None:
    engine = begun(models)
    spare = [1 << 40]
    engine._looks = LookShelf(lambda: spare.pop(0))
    engine.step(frames(4, 50), with_orders(NEON, SAVE))
    for seed in (51, 52):
        engine.step(frames(4, seed), with_orders(NEON, SAVE))
    over = SAVE.model_copy(update={"serial": 2})
    back = RECALL.model_copy(update={"serial": 3})

    gone_on = engine.step(frames(4, 53), with_orders(NEON, SAVE, over))
    engine.step(frames(4, 54), with_orders(Params(prompt="gold", seed=5), SAVE, over))
    recalled = engine.step(frames(4, 53), with_orders(NEON, SAVE, over, back))

    assert np.array_equal(recalled.frames, gone_on.frames)
    assert (recalled.look_serial, recalled.looks) == (3, ("a",))


def test_a_chunk_tells_which_looks_there_are(models: TinyModels) -> None:
    engine = begun(models)

    saved = engine.step(frames(4, 1), with_orders(NEON, SAVE))
    forgotten = engine.step(frames(4, 2), with_orders(NEON, SAVE, FORGET))
    engine.reset()
    first = engine.step(frames(1, 3), with_orders(NEON, SAVE, FORGET, AGAIN))

    assert (saved.look_serial, saved.looks) == (1, ("a",))
    assert (forgotten.look_serial, forgotten.looks) == (3, ())
    assert first.look_serial == 3, "what is asked before the first chunk is not done yet"
