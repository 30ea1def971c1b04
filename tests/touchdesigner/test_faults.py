"""What can go wrong on stage, what the component says of it, and that it comes back by itself.

    fault                                   state             says                     comes back
    no host when the project opens          no host           start it, and how        it starts
    daemon killed, or stopped by its owner  no host           start it, and how        it starts,
                                                                                       on any port
    worker killed                           recovering        the last picture is held by itself
    daemon hangs                            hung              restart it               it goes on
    the input's size changes                live                                       at once
    the host's does (test_thousand_cooks)   starting                                   by itself
    host of another name chosen             no host           the names that run       name chosen
    component renamed and moved             live                                       at once
    host of another version                 wrong version     both, which one is old   plays on
    two components, or another program      live              another program sends    it ends
    project opened again                    live                                       at once
    shared memory is full                   live              full, and what to do     there is room

Every fault ends with new pictures, exactly those that went in; until then the last one is held.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdv2_host.client.status import State
from sdv2_host.ipc.frame_ring import FrameWriter, default_run_dir
from sdv2_host.types import FrameMeta, PixelFormat
from tests.client.fake_host import FakeHost
from tests.client.waiting import levels, numbered
from tests.hosts import children, unique_name
from tests.touchdesigner.touch_stage import TouchStage, real_host, touch_stage

resource = pytest.importorskip("resource", reason="signals and limits of POSIX")

SMALL, LARGE = (96, 64), (640, 360)
LIMIT_BYTES = 1 << 20
"""Less than a ring for LARGE takes."""


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TouchStage, int]]:
    """A stage beside a real host that outlives its tests, and the daemon's process id."""
    folder = tmp_path_factory.mktemp("lasting")
    with touch_stage(folder) as stage, real_host(stage.host, folder) as host:
        yield stage, host.process.pid


def plays(stage: TouchStage, number: int, size: tuple[int, int] = SMALL) -> None:
    """This picture goes to the host and comes back as it was, and the component is content."""
    picture = numbered(number, *size)
    stage.show(picture)
    stage.until(lambda: np.array_equal(stage.seen(), levels(picture)), f"picture {number}")
    stage.until(lambda: stage.fact("state") == "live", "live")


def says(stage: TouchStage, state: State, *words: str) -> None:
    """The status table comes to this state, and its sentence has these words."""

    def is_said() -> bool:
        sentence = stage.fact("sentence")
        return stage.fact("state") == state.value and all(word in sentence for word in words)

    stage.until(is_said, f"{state.value}: {words}")


def holds(stage: TouchStage, number: int) -> None:
    """The picture of before is shown on."""
    assert np.array_equal(stage.seen(), levels(numbered(number, *SMALL)))


def test_no_host_at_the_start_then_it_comes_is_killed_and_comes_back_on_its_port(
    stage: TouchStage, tmp_path: Path
) -> None:
    says(stage, State.NO_HOST, stage.host, "Start it here", "sdv2-host run --name")

    with real_host(stage.host, tmp_path) as host:
        plays(stage, 1)
        port = stage.status.port
        host.process.kill()
        says(stage, State.NO_HOST, stage.host, "Start it here")
        holds(stage, 1)

    with real_host(stage.host, tmp_path, "--port", str(port)):
        plays(stage, 2)
        assert stage.status.port == port
    assert stage.failures() == []


def test_a_host_that_its_owner_stops_comes_back_on_another_port(
    stage: TouchStage, tmp_path: Path
) -> None:
    with real_host(stage.host, tmp_path) as host:
        plays(stage, 1)
        port = stage.status.port
        host.stop(signal.SIGTERM)
        says(stage, State.NO_HOST, stage.host, "Start it here")
        holds(stage, 1)

    with real_host(stage.host, tmp_path):
        plays(stage, 2)
        assert stage.status.port != port
    assert stage.failures() == []


@pytest.mark.parametrize(
    ("version", "words"),
    [("9.1.0", "the component is older"), ("0.0.1", "the host is older")],
)
def test_a_host_of_another_version_is_named_and_plays_all_the_same(
    stage: TouchStage, version: str, words: str
) -> None:
    with FakeHost(stage.host, default_run_dir(), version=version):
        says(stage, State.WRONG_VERSION, f"The host is version {version}", words)

        picture = numbered(1)
        stage.show(picture)
        stage.until(lambda: np.array_equal(stage.seen(), levels(picture)), "plays")
        stage.until(lambda: stage.comp.par.Hostversion.eval() == version, "on the pages")

    with FakeHost(stage.host, default_run_dir()):
        plays(stage, 2)


def test_a_worker_that_is_killed_is_replaced(lasting: tuple[TouchStage, int]) -> None:
    stage, daemon = lasting
    plays(stage, 1)
    (worker, *_) = children(daemon)

    os.kill(worker, signal.SIGKILL)

    says(stage, State.RECOVERING, "recovers", "last picture is held")
    holds(stage, 1)
    plays(stage, 2)


def test_a_daemon_that_hangs_is_told_and_goes_on(lasting: tuple[TouchStage, int]) -> None:
    stage, daemon = lasting
    plays(stage, 1)

    os.kill(daemon, signal.SIGSTOP)
    try:
        says(stage, State.HUNG, "hangs", "last picture is held", "restart it")
        holds(stage, 1)
    finally:
        os.kill(daemon, signal.SIGCONT)

    plays(stage, 2)


def test_the_input_may_change_its_size(lasting: tuple[TouchStage, int]) -> None:
    stage, _ = lasting
    plays(stage, 1)

    plays(stage, 2, LARGE)

    stage.until(lambda: stage.status.output_size == LARGE, "told")
    plays(stage, 3, (33, 17))


def test_another_host_is_named_and_followed_when_it_is_chosen(
    lasting: tuple[TouchStage, int],
) -> None:
    stage, _ = lasting
    plays(stage, 1)

    stage.comp.par.Host = unique_name()
    says(stage, State.NO_HOST, stage.comp.par.Host.eval(), f"'{stage.host}'", "choose that name")
    stage.comp.par.Host = stage.host

    plays(stage, 2)


def test_the_component_may_be_renamed_and_moved(lasting: tuple[TouchStage, int]) -> None:
    stage, _ = lasting
    plays(stage, 1)

    stage.comp.name, stage.touch.project1.name = "renamed", "show"
    plays(stage, 2)

    stage.comp.Set(prompt="from here")
    stage.until(lambda: stage.fact("live_prompt") == "from here", "controls")
    stage.comp.parent().name, stage.comp.name = "project1", "StreamDiffusion"


def test_of_two_components_one_sends_and_the_other_takes_over(
    lasting: tuple[TouchStage, int],
) -> None:
    stage, _ = lasting
    plays(stage, 1)
    with second_component(stage) as other:
        says(other, State.LIVE, "another program already sends", "turn off the input here")
        plays(stage, 2)
        other.until(lambda: np.array_equal(other.seen(), stage.seen()), "shows the same")
        stage.comp.par.Active = False

        plays(other, 3)
        other.until(lambda: other.status.input_trouble == "", "no trouble")
    plays(stage, 4)


@contextmanager
def second_component(stage: TouchStage) -> Iterator[TouchStage]:
    """Beside the stage's, of the same source and host; the stage's is active afterwards."""
    second = stage.touch.project1.copy(stage.comp, name="second")
    second.inputConnectors[0].connect(stage.source)
    stage.touch.look_at(second.op("out1"))
    try:
        yield TouchStage(stage.touch, second, stage.source, stage.host)
    finally:
        second.destroy()
        stage.comp.par.Active = True


def test_another_program_sends_first_and_leaves(lasting: tuple[TouchStage, int]) -> None:
    stage, _ = lasting
    stage.comp.par.Sendinput = False
    stage.until(lambda: stage.status.frames_sent == 0, "let go")
    with FrameWriter(f"{stage.host}-in", run_dir=default_run_dir()) as writer:
        stage.comp.par.Sendinput = True
        theirs = levels(numbered(5, *SMALL))

        stage.until(lambda: sent(writer, theirs) and is_shown(stage, theirs), "theirs is shown")
        says(stage, State.LIVE, "another program already sends", "close it")

    plays(stage, 2)


def sent(writer: FrameWriter, pixels: Any) -> bool:
    """The other program has published the picture, top row first."""
    height, width = pixels.shape[:2]
    writer.publish(pixels, FrameMeta(width, height, PixelFormat.RGBA8))
    return True


def is_shown(stage: TouchStage, pixels: Any) -> bool:
    return np.array_equal(stage.seen()[::-1], pixels)


def test_shared_memory_that_is_full_is_told_and_then_has_room(
    lasting: tuple[TouchStage, int],
) -> None:
    stage, _ = lasting
    plays(stage, 1)

    with no_larger_file():
        stage.show(numbered(2, *LARGE))
        says(stage, State.LIVE, "Frames do not go out", "shared memory is full", "smaller")
        holds(stage, 1)

    plays(stage, 3, LARGE)


@contextmanager
def no_larger_file() -> Iterator[None]:
    """This process can make no larger file, and Linux keeps shared memory in files."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_project_that_is_opened_again_plays_on(lasting: tuple[TouchStage, int]) -> None:
    stage, _ = lasting
    plays(stage, 1)

    stage.reopen()
    plays(stage, 2)

    stage.comp.Set(prompt="opened again")
    stage.until(lambda: stage.fact("live_prompt") == "opened again", "controls")


def test_no_script_failed_in_all_that(lasting: tuple[TouchStage, int]) -> None:
    stage, _ = lasting

    assert stage.failures() == []
