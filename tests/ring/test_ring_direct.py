"""A ring of processes whose tensors go beside their heads, on groups as NCCL would have them."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.distributed_c10d import Store

from sdv2_host.params import Params
from sdv2_host.stages.gloo_group import GlooGroup, Membership
from sdv2_host.stages.payload_lane import MakePayloadGroup
from sdv2_host.stages.rank_process import run_rank
from tests.stages.places import in_chunks, toy_clip
from tests.stages.toy_ring import ALONE, lost_at, quiet, toy_ring, whole

CHUNKS = in_chunks(toy_clip(45))
STEADY = [Params(steps=2, drift="off")] * len(CHUNKS)


pytestmark = pytest.mark.usefixtures("one_thread")


def noted_group(folder: Path, store: Store, name: str, membership: Membership) -> GlooGroup:
    """One of gloo; a file says that it was made, and for which place of the two."""
    _, epoch, lane = name.split("/")
    (folder / f"{epoch} {lane} {membership.place}").touch()
    return GlooGroup(store, name, membership)


def noted(folder: Path, transport: str, device: torch.device) -> MakePayloadGroup:
    del transport, device
    return partial(noted_group, folder)


def epochs_of(folder: Path) -> dict[str, set[str]]:
    """What was made in each epoch."""
    epochs: dict[str, set[str]] = {}
    for file in folder.iterdir():
        epoch, _, end = file.name.partition(" ")
        epochs.setdefault(epoch, set()).add(end)
    return epochs


@pytest.mark.parametrize("route", ["ring", "chain"])
def test_pictures_are_those_of_one_device(route: str, tmp_path: Path) -> None:
    run = partial(run_rank, choose_direct=partial(noted, tmp_path))

    with toy_ring(2, route=route, run=run) as engine:
        engine.warm_up(STEADY[0], quiet)
        steps = [engine.step(*one).frames for one in zip(CHUNKS, STEADY, strict=True)]
        got = np.concatenate([*steps, engine.finish().frames])
        made = set().union(*epochs_of(tmp_path).values())

    assert np.array_equal(got, whole(CHUNKS, STEADY))
    back = {"lane1 0", "lane1 1"} if route == "ring" else set()
    assert made == {"lane0 0", "lane0 1"} | back


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to kill with")
def test_a_killed_rank_costs_no_picture_and_the_others_have_new_lanes(tmp_path: Path) -> None:
    run = partial(run_rank, choose_direct=partial(noted, tmp_path))
    out = []

    with toy_ring(3, limits=ALONE, run=run) as engine:
        engine.warm_up(STEADY[0], quiet)
        num_before = len(epochs_of(tmp_path))
        for index, one in enumerate(zip(CHUNKS, STEADY, strict=True)):
            if index == 6:
                os.kill(engine.driver.pids[1], signal.SIGKILL)
            out.append(engine.step(*one).frames)
        got = np.concatenate([*out, engine.finish().frames])
        num_after = len(epochs_of(tmp_path))

    assert num_after > num_before
    assert any(np.array_equal(got, lost_at(n, CHUNKS, STEADY)) for n in range(len(CHUNKS)))
