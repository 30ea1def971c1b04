from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sdv2_host.clock import NS_PER_S
from sdv2_host.control import folder_watch
from sdv2_host.control.console import Console
from sdv2_host.control.cues import CueDeck
from sdv2_host.control.presets import PresetDeck, PresetShelf
from sdv2_host.errors import ConfigError, ParamError
from tests.control.fake_stage import FakeStage, fake_console


class Desk:
    """A cue deck with a clock that stands still."""

    def __init__(self, folder: Path, cues: list[dict[str, object]]) -> None:
        self.console: Console
        self.stage: FakeStage
        self.console, self.stage, _ = fake_console()
        self.now = 0
        for seed, name in enumerate("abc"):
            params = {"/sdv2/seed": seed}
            body = {"format": "sdv2-preset", "version": 1, "name": name, "params": params}
            (folder / f"{name}.json").write_text(json.dumps(body))
        lists = folder / "cues"
        lists.mkdir()
        body = {"format": "sdv2-cues", "version": 1, "name": "show", "cues": cues}
        (lists / "show.json").write_text(json.dumps(body))
        presets = PresetDeck(self.console, PresetShelf(folder, folder / "none", "tiny"))
        presets.scan()
        self.deck = CueDeck(self.console, presets, (lists,), lambda: self.now)
        self.deck.scan()
        self.console.register(presets.handlers() | self.deck.handlers())

    def go(self, *args: str) -> str:
        self.now += NS_PER_S
        return self.console.call("cue_go", args, "t")

    @property
    def at(self) -> tuple[object, object, int]:
        board = self.console.board
        return board["cue"], board["next_cue"], self.stage.params.seed


PLAIN = [{"id": "1", "preset": "b"}, {"id": "2", "preset": "c"}, {"id": "10", "preset": "a"}]


def play(
    folder: Path, cues: list[dict[str, object]], act: Callable[[Desk], Awaitable[None]]
) -> None:
    async def run() -> None:
        desk = Desk(folder, cues)
        desk.console.call("cues_load", ("show",), "t")
        await act(desk)

    asyncio.run(run())


def test_go_and_back_walk_the_list(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        assert desk.at == ("", "1", 0)
        desk.go()
        assert desk.at == ("1", "2", 1)
        desk.go()
        assert desk.at == ("2", "10", 2)
        desk.console.call("cue_back", (), "t")
        assert desk.at == ("1", "2", 1)
        desk.go("10")
        assert desk.at == ("10", "", 0)
        with pytest.raises(ParamError, match="at its end"):
            desk.go()

    play(tmp_path, PLAIN, act)


def test_a_second_go_at_once_is_disregarded(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        desk.go()
        answer = desk.console.call("cue_go", (), "another surface")

        assert "disregarded" in answer
        assert desk.at == ("1", "2", 1)

    play(tmp_path, PLAIN, act)


def test_a_cue_may_wait_and_the_next_one_follow_by_itself(tmp_path: Path) -> None:
    cues: list[dict[str, object]] = [
        {"id": "1", "preset": "b", "pre_wait": 0.02, "follow": "auto", "post_wait": 0.05},
        {"id": "2", "preset": "c"},
    ]

    async def act(desk: Desk) -> None:
        desk.go()
        assert desk.at == ("1", "2", 0)
        async with asyncio.timeout(10):
            while desk.at != ("2", "", 2):
                await asyncio.sleep(0.005)
        assert [p["seed"] for p, _, _ in desk.stage.applied] == [1, 2]

    play(tmp_path, cues, act)


def test_another_go_ends_what_waits(tmp_path: Path) -> None:
    cues: list[dict[str, object]] = [
        {"id": "1", "preset": "b", "pre_wait": 0.02},
        {"id": "2", "preset": "c"},
    ]

    async def act(desk: Desk) -> None:
        desk.go()
        desk.go()
        await asyncio.sleep(0.05)

        assert desk.at == ("2", "", 2)
        assert len(desk.stage.applied) == 1

    play(tmp_path, cues, act)


def test_parameters_of_a_cue_win_over_its_preset(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        desk.go()

        assert (desk.stage.params.seed, desk.stage.params.steps) == (99, 4)
        assert len(desk.stage.applied) == 1

    params = {"/sdv2/seed": 99, "/sdv2/steps": 4}
    play(tmp_path, [{"id": "1", "preset": "b", "params": params}], act)


@pytest.mark.parametrize(
    ("cue", "text"),
    [
        ({"id": "1", "preset": "nowhere"}, "cue 1: no preset 'nowhere'"),
        ({"id": "1", "params": {"/sdv2/steps": "x"}}, "cue 1: /sdv2/steps"),
    ],
)
def test_a_list_with_a_wrong_cue_is_not_taken(
    tmp_path: Path, cue: dict[str, object], text: str
) -> None:
    desk = Desk(tmp_path, [*PLAIN[1:], cue])

    with pytest.raises(ConfigError, match=text):
        desk.console.call("cues_load", ("show",), "t")

    assert desk.console.board["cue_list"] == ""


@pytest.mark.parametrize(
    "cues",
    [
        [],
        [{"id": "1"}],
        [{"id": "x", "preset": "a"}],
        [{"id": "1", "preset": "a"}, {"id": "1", "preset": "b"}],
        [{"id": "1", "preset": "a", "fade": -1}],
        [{"id": "1", "preset": "a", "colour": "red"}],
    ],
)
def test_a_file_that_is_no_cue_list_is_told_and_left_out(
    tmp_path: Path, cues: list[dict[str, object]]
) -> None:
    desk = Desk(tmp_path, cues)

    assert desk.console.board["cue_lists"] == []
    assert "show.json" in desk.console.notices[-1].text


def test_without_a_list_go_says_what_to_do(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PLAIN)

    with pytest.raises(ParamError, match="/sdv2/cue/load takes one of: show"):
        desk.go()


def test_a_list_that_is_written_while_the_show_runs_can_be_loaded_and_the_one_in_hand_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_watch, "WATCH_S", 0.01)

    def write(folder: Path, name: str, preset: str) -> None:
        cues = [{"id": "1", "preset": preset}, {"id": "2", "preset": preset}]
        body = {"format": "sdv2-cues", "version": 1, "name": name, "cues": cues}
        (folder / f"{name}.json").write_text(json.dumps(body))

    async def act(desk: Desk) -> None:
        watching = asyncio.create_task(desk.deck.watch())
        await asyncio.sleep(0.05)
        write(tmp_path / "cues", "show", "c")
        write(tmp_path / "cues", "late", "b")
        async with asyncio.timeout(20):
            while "was edited" not in "".join(note.text for note in desk.console.notices):
                await asyncio.sleep(0.01)
        assert desk.console.board["cue_lists"] == ["late", "show"]
        desk.go("1")
        assert desk.at == ("1", "2", 1)
        desk.console.call("cues_load", ("SHOW",), "t")
        desk.go()
        assert desk.at == ("1", "2", 2)
        watching.cancel()

    play(tmp_path, PLAIN, act)


def test_a_wrong_list_is_told_once_and_named_when_it_is_missed(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PLAIN)
    (tmp_path / "cues" / "show.json").write_text("{")

    for _ in range(3):
        desk.deck.scan()

    assert [note.level for note in desk.console.notices] == ["warning"]
    with pytest.raises(ParamError, match=r"known are none; .*wrong: .*show\.json: not JSON"):
        desk.console.call("cues_load", ("show",), "t")
