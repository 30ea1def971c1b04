from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from sdv2_host.control.state_file import STATE, StateKeeper, initial_params, load_state
from sdv2_host.params import Params
from tests.control.fake_stage import fake_console


def keep(path: Path, engine: str = "tiny", **values: object) -> None:
    async def run() -> None:
        console, stage, _ = fake_console()
        stage.status = replace(stage.status, engine=engine)
        keeper = StateKeeper(console, path)
        console.listen(keeper)
        console.set(values, "t")
        console.publish({"preset": "neon", "cue_list": "show", "cue": "3.5"}, "t")
        keeper.close()

    asyncio.run(run())


def test_a_restart_goes_on_as_it_looked(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.json"
    keep(path, prompt="a | b:2", crossfade=0.5, steps=4, mix=0.25, bpm=99.5, panicked=True)

    state = load_state(path)
    assert state is not None
    params = initial_params(state, Params(), (), "tiny")

    assert params == Params(
        prompt="a | b:2", crossfade=0.5, steps=4, mix=0.25, bpm=99.5, panicked=True
    )
    assert (state.preset, state.cue_list, state.cue) == ("neon", "show", "3.5")


def test_what_hides_the_picture_or_takes_the_disk_is_not_restored(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    keep(path, blackout=True, freeze=True, pause=True, record=True, width=512)

    assert initial_params(load_state(path), Params(), (), "tiny") == Params()


def test_the_command_line_wins(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    keep(path, prompt="kept", steps=4)

    params = initial_params(load_state(path), Params(prompt="given"), {"prompt"}, "tiny")

    assert (params.prompt, params.steps) == ("given", 4)


def test_a_panic_stays_whatever_engine_comes_next(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    keep(path, "wan-1.3b", panicked=True, safe="black", panic_s=2.0, steps=4)

    params = initial_params(load_state(path), Params(), (), "passthrough")

    assert params == Params(panicked=True, safe="black", panic_s=2.0)


def test_a_panic_is_kept_at_once_and_its_end_too(tmp_path: Path) -> None:
    path = tmp_path / "state.json"

    async def run() -> None:
        console, _, _ = fake_console()
        console.listen(StateKeeper(console, path, after_s=3600.0))
        console.set({"steps": 4}, "t")
        for is_panicked in (True, False, True):
            console.set({"panicked": is_panicked}, "t")
            while not path.exists() or Params(panicked=is_panicked) != kept(path):
                await asyncio.sleep(0.005)

    def kept(at: Path) -> Params:
        params = initial_params(load_state(at), Params(), (), "tiny")
        return Params(panicked=params.panicked)

    asyncio.run(asyncio.wait_for(run(), 20))


def test_of_a_panic_that_is_toggled_fast_the_last_state_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.json"

    async def run() -> None:
        console, _, _ = fake_console()
        console.listen(StateKeeper(console, path, after_s=3600.0))
        for number in range(500):
            console.set({"panicked": number % 2 == 0, "seed": number}, "t")
        while (state := load_state(path)) is None or state.params["/sdv2/seed"] != 499:
            await asyncio.sleep(0.005)
        assert state.params["/sdv2/panicked"] is False

    asyncio.run(asyncio.wait_for(run(), 20))


def test_a_state_of_another_engine_gives_its_prompts_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    keep(path, "wan-1.3b", prompt="kept", noise_s_max=0.9)

    params = initial_params(load_state(path), Params(), (), "tiny")

    assert (params.prompt, params.noise_s_max) == ("kept", 0.5)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 99}', bytes(range(256))])
def test_a_damaged_state_is_set_aside_and_the_defaults_hold(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)

    assert initial_params(load_state(path), Params(), (), "tiny") == Params()
    assert (tmp_path / "state.json.bad").read_bytes() == content
    assert not path.exists()


def test_a_value_that_is_wrong_by_now_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    values = '{"/sdv2/steps": 99, "/sdv2/seed": "x", "/gone": 1, "/sdv2/prompt": "kept"}'
    path.write_text(
        '{"format": "sdv2-state", "version": 1, "engine": "tiny", "params": ' + values + "}"
    )

    params = initial_params(load_state(path), Params(), (), "tiny")

    assert (params.steps, params.seed, params.prompt) == (4, 0, "kept")


def test_no_state_means_the_defaults(tmp_path: Path) -> None:
    assert load_state(tmp_path / "none.json") is None
    assert initial_params(None, Params(seed=5), (), "tiny") == Params(seed=5)


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_show(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    keep(tmp_path / "file" / "state.json", steps=3)


def test_a_change_is_in_the_file_soon_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "state.json"

    async def run() -> None:
        console, _, _ = fake_console()
        keeper = StateKeeper(console, path)
        console.listen(keeper)
        console.set({"seed": 77}, "t")
        async with asyncio.timeout(20):
            while not path.exists():
                await asyncio.sleep(0.02)

    asyncio.run(run())
    assert STATE.read(path).value.params["/sdv2/seed"] == 77
