"""Law of the frame pool: what anybody holds is never handed out again, what nobody holds is."""

from __future__ import annotations

import random

import numpy as np

from sdv2_host.ipc.frame_pool import MAX_BUFFERS, FramePool


def test_what_is_held_in_any_form_is_never_handed_out() -> None:
    rng = random.Random(3)
    pool = FramePool()
    held: dict[int, tuple[object, int]] = {}
    forms = [
        lambda flat: flat,
        lambda flat: flat.reshape(4, 4, 4),
        lambda flat: flat.reshape(4, 4, 4)[1:3, ::2, 3],
        lambda flat: flat.view(np.float32).reshape(4, 4).T,
        lambda flat: memoryview(flat.reshape(8, 8)),
        lambda flat: np.asarray(memoryview(flat)),
    ]

    for turn in range(1000):
        flat = pool.take(64)
        assert not any(np.shares_memory(flat, np.asarray(view)) for view, _ in held.values())
        flat.fill(turn % 251)
        held[turn] = (rng.choice(forms)(flat), turn % 251)
        del flat
        while len(held) > rng.randint(0, MAX_BUFFERS + 4):
            held.pop(rng.choice(list(held)))
        for view, value in held.values():
            assert set(np.ascontiguousarray(view).view(np.uint8).ravel()) == {value}


def test_what_nobody_holds_is_used_again() -> None:
    pool = FramePool()
    addresses = {pool.take(1 << 20).ctypes.data for _ in range(100)}

    assert len(addresses) == 1


def test_another_size_is_another_buffer() -> None:
    pool = FramePool()

    assert [pool.take(size).size for size in (8, 16, 8, 1, 8)] == [8, 16, 8, 1, 8]
