"""LookDesk: what is ordered of the worker, and what is refused before it is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdv2_host.config import Config
from sdv2_host.control.console import Console
from sdv2_host.errors import ParamError, WorkerError
from sdv2_host.host.daemon import Daemon
from sdv2_host.host.look_desk import LookDesk
from sdv2_host.ipc.messages import Report
from sdv2_host.look_orders import MAX_LOOKS
from sdv2_host.param_table import Patch
from sdv2_host.params import Params
from tests.control.fake_stage import FakeStage


class Rig:
    """A desk whose orders are written down."""

    def __init__(self) -> None:
        self.console = Console(FakeStage())
        self.orders: list[tuple[str, str, Patch]] = []
        self.desk = LookDesk(self.console, lambda *order: self.orders.append(order))
        self.console.register(self.desk.handlers())

    def call(self, verb: str, name: str) -> str:
        return self.console.call(f"look_{verb}", (name,), "test")


def test_a_recall_brings_the_parameters_that_were_saved() -> None:
    rig = Rig()
    rig.console.set({"seed": 7, "noise_s_max": 0.6}, "test")
    rig.call("save", "calm")
    rig.console.set({"seed": 8}, "test")

    rig.call("recall", "calm")

    assert [order[:2] for order in rig.orders] == [("save", "calm"), ("recall", "calm")]
    patch = rig.orders[1][2]
    assert (patch["seed"], patch["noise_s_max"]) == (7, 0.6)
    assert "drift" not in patch
    assert rig.console.board["looks"] == ["calm"]


def test_an_unknown_look_is_refused_with_those_there_are() -> None:
    rig = Rig()
    rig.call("save", "calm")
    rig.call("save", "storm")

    with pytest.raises(ParamError, match="look 'gale' is none; there are calm, storm"):
        rig.call("recall", "gale")

    assert len(rig.orders) == 2


def test_a_look_that_went_with_its_worker_says_so() -> None:
    rig = Rig()
    rig.call("save", "calm")

    rig.desk.lose("is started anew with other settings")

    went = "look 'calm' is gone, the worker is started anew with other settings; there are none"
    with pytest.raises(ParamError, match=went):
        rig.call("recall", "calm")
    assert rig.console.board["looks"] == []


def test_a_look_that_the_engine_refused_leaves_the_board_and_is_told() -> None:
    rig = Rig()
    for name in ("calm", "storm", "gale"):
        rig.call("save", name)

    rig.desk.keep(("storm",))

    assert rig.console.board["looks"] == ["storm"]
    told = [notice.text for notice in rig.console.notices]
    assert told == [f"look {name} is not saved, see the problem" for name in ("calm", "gale")]
    with pytest.raises(ParamError, match="look 'gale' is gone, the worker could not keep it"):
        rig.call("recall", "gale")
    rig.call("save", "gale")
    assert rig.console.board["looks"] == ["storm", "gale"]


def test_a_report_from_before_the_newest_order_takes_no_look_away(
    tmp_path: Path, stream: str
) -> None:
    config = Config(name=stream, engine="passthrough", port=0, data_dir=str(tmp_path))
    daemon = Daemon(config, Params(), run_dir=tmp_path)
    desk = daemon._look_desk
    daemon._num_looks = 2
    desk._looks = {"calm": {}, "storm": {}}

    daemon._on_chunk(report(look_serial=1, looks=("calm",)))
    assert list(desk._looks) == ["calm", "storm"]
    daemon._on_chunk(report(look_serial=2, looks=("calm",)))
    assert list(desk._looks) == ["calm"]


def report(look_serial: int, looks: tuple[str, ...]) -> Report:
    counts = dict.fromkeys(("frames_in", "frames_out", "dropped", "queue_depth", "rss_bytes"), 0)
    return Report(version=1, spans_ms={}, notes={}, look_serial=look_serial, looks=looks, **counts)


def test_a_forgotten_look_is_unknown() -> None:
    rig = Rig()
    rig.call("save", "calm")
    rig.call("forget", "calm")

    with pytest.raises(ParamError, match="there are none"):
        rig.call("forget", "calm")


def test_a_name_that_no_preset_could_have_is_refused() -> None:
    with pytest.raises(ParamError, match="expected 1 to 64 letters"):
        Rig().call("save", "../x")


def test_no_more_looks_are_listed_than_an_engine_keeps() -> None:
    rig = Rig()
    for number in range(MAX_LOOKS):
        rig.call("save", f"look {number}")

    rig.call("save", "look 0")
    with pytest.raises(ParamError, match="there are 32 looks, allowed are 32: /sdv2/look/forget"):
        rig.call("save", "one more")

    assert len(rig.orders) == MAX_LOOKS + 1


def test_without_an_engine_that_is_ready_no_look_is_saved(tmp_path: Path, stream: str) -> None:
    config = Config(name=stream, engine="passthrough", port=0, data_dir=str(tmp_path))
    daemon = Daemon(config, Params(), run_dir=tmp_path)

    with pytest.raises(WorkerError, match="no engine is ready"):
        daemon.console.call("look_save", ("calm",), "test")

    assert "looks" not in daemon.console.board
    assert daemon.params.looks == ()
