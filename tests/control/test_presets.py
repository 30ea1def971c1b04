from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.bench.vocabulary import WORDS
from sdv2_host.control.console import Console
from sdv2_host.control.cue_file import CUES
from sdv2_host.control.documents import MAX_BYTES
from sdv2_host.control.fader import Duration
from sdv2_host.control.preset_file import PRESET, as_look, texts_of
from sdv2_host.control.presets import PresetDeck, PresetShelf
from sdv2_host.errors import ConfigError, ParamError
from sdv2_host.params import Params
from tests.control.fake_stage import FakeStage, fake_console

SHIPPED = Path(__file__).parent.parent.parent / "presets"


def preset(**changes: object) -> bytes:
    body = {"format": "sdv2-preset", "version": 1, "name": "x", "params": {"/sdv2/steps": 3}}
    return json.dumps(body | changes).encode()


def deck(own: Path, *files: bytes) -> tuple[PresetDeck, Console, FakeStage]:
    console, stage, _ = fake_console()
    own.mkdir(exist_ok=True)
    for content in files:
        name = json.loads(content)["name"]
        (own / f"{name}.json").write_bytes(content)
    made = PresetDeck(console, PresetShelf(own, own / "none", "tiny"))
    console.register(made.handlers())
    made.scan()
    return made, console, stage


def test_a_preset_changes_what_it_lists_and_nothing_else(tmp_path: Path) -> None:
    _, console, stage = deck(tmp_path, preset())
    console.set({"seed": 7}, "t")

    console.call("preset_load", ("x",), "t")

    assert stage.params == Params(steps=3, seed=7)
    assert console.board["preset"] == "x"


def test_a_preset_with_one_wrong_value_changes_nothing(tmp_path: Path) -> None:
    wrong = preset(params={"/sdv2/steps": 3, "/sdv2/noise/s_max": "loud"})
    made, console, stage = deck(tmp_path, wrong)

    with pytest.raises(ParamError, match="no preset 'x'"):
        console.call("preset_load", ("x",), "t")

    assert stage.params == Params()
    assert made.shelf.looks == {}
    assert any("loud" in notice.text for notice in console.notices)


def test_out_of_range_is_clamped_and_told_and_show_states_are_left_alone(tmp_path: Path) -> None:
    params = {"/sdv2/steps": 9, "/sdv2/blackout": True, "/sdv2/output/width": 512, "/no": 1}
    _, console, stage = deck(tmp_path, preset(params=params))

    console.call("preset_load", ("x",), "t")

    assert stage.params == Params(steps=4)
    told = " ".join(notice.text for notice in console.notices)
    for word in ("expected 1..4", "/sdv2/blackout is no part", "/sdv2/output/width", "'/no'"):
        assert word in told


@pytest.mark.parametrize(
    ("given_s", "own_s", "expected"),
    [
        (None, None, None),
        (None, 0.0, Duration(0.0)),
        (None, 2.0, Duration(2.0)),
        (5.0, 2.0, Duration(5.0)),
    ],
)
def test_the_time_given_wins_over_the_presets_own(
    tmp_path: Path, given_s: float | None, own_s: float | None, expected: Duration | None
) -> None:
    own = {} if own_s is None else {"transition": {"seconds": own_s}}
    _, console, stage = deck(tmp_path, preset(**own))

    console.call("preset_load", ("x",) if given_s is None else ("x", given_s), "t")

    assert stage.applied[-1][2] == expected


def test_next_and_previous_go_round(tmp_path: Path) -> None:
    files = [preset(name=name, params={"/sdv2/seed": i}) for i, name in enumerate("abc")]
    _, console, stage = deck(tmp_path, *files)
    seeds = []
    for action in ("preset_next", "preset_next", "preset_next", "preset_next", "preset_previous"):
        console.call(action, (), "t")
        seeds.append(stage.params.seed)

    assert seeds == [0, 1, 2, 0, 2]


def test_a_saved_look_is_the_look_again_after_a_restart(tmp_path: Path) -> None:
    async def run() -> None:
        _, console, stage = deck(tmp_path)
        console.set({"prompt": "a:2 | b:1", "steps": 4, "mix": 0.5, "blackout": True}, "t")
        console.call("preset_save", ("my look",), "t")
        saved = stage.params

        _, again, other = deck(tmp_path)
        again.call("preset_load", ("My Look",), "t")

        assert other.params == saved.model_copy(update={"blackout": False})
        assert (tmp_path / "my look.json").read_text().startswith('{\n  "format": "sdv2-preset"')

    asyncio.run(run())


def test_saving_again_keeps_what_was_there_beside_it(tmp_path: Path) -> None:
    _, console, _ = deck(tmp_path, preset())
    before = (tmp_path / "x.json").read_bytes()

    console.call("preset_save", ("x",), "t")

    assert (tmp_path / "x.json.bak").read_bytes() == before


def test_a_name_in_another_case_is_the_same_preset(tmp_path: Path) -> None:
    _, console, _ = deck(tmp_path, preset())

    console.call("preset_save", ("X",), "t")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.json.bak"]
    assert console.board["presets"] == ["X"]


def test_after_a_restart_a_look_that_was_changed_is_said_to_be(tmp_path: Path) -> None:
    made, console, _ = deck(tmp_path, preset())

    made.restore("x")
    assert (console.board["preset"], console.board["preset_changed"]) == ("x", True)
    console.set({"steps": 3}, "t")
    made.restore("x")

    assert console.board["preset_changed"] is False


def test_a_wrong_file_is_told_once_and_again_when_it_is_wrong_in_another_way(
    tmp_path: Path,
) -> None:
    made, console, _ = deck(tmp_path, preset())
    (tmp_path / "x.json").write_text("{")
    for _ in range(3):
        made.scan()
    assert len(console.notices) == 1

    (tmp_path / "x.json").write_text("[]")
    made.scan()

    assert len(console.notices) == 2


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", "", "x" * 65, "a\nb"])
def test_no_name_is_a_path(tmp_path: Path, name: str) -> None:
    _, console, _ = deck(tmp_path / "own")

    with pytest.raises(ParamError, match="expected 1 to 64 letters"):
        console.call("preset_save", (name,), "t")

    assert [path.name for path in tmp_path.rglob("*")] == ["own"]


def test_a_change_after_loading_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        made, console, _ = deck(tmp_path, preset())
        console.listen(made)
        console.call("preset_load", ("x",), "t")
        assert console.board["preset_changed"] is False
        console.set({"bpm": 99}, "t")
        await asyncio.sleep(0)
        assert console.board["preset_changed"] is False

        console.set({"seed": 5}, "t")
        await asyncio.sleep(0)

        assert console.board["preset_changed"] is True

    asyncio.run(run())


def test_a_file_that_breaks_while_the_show_runs_leaves_its_look(tmp_path: Path) -> None:
    made, console, _ = deck(tmp_path, preset())
    (tmp_path / "x.json").write_text("{")

    made.scan()

    assert list(made.shelf.looks) == ["x"]
    assert "not JSON" in console.notices[-1].text


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    shelf = PresetShelf(SHIPPED, SHIPPED, "tiny")
    shelf.scan()

    with pytest.raises(ParamError, match="did you mean Neon Rain"):
        shelf.find("neon rian")


def test_a_look_whose_file_is_wrong_is_missed_with_the_file_and_its_fault(tmp_path: Path) -> None:
    made, _, _ = deck(tmp_path, preset(params={"/sdv2/steps": "lots"}))

    with pytest.raises(ParamError) as caught:
        made.shelf.find("x")

    assert f"{tmp_path / 'x.json'}: /sdv2/steps = 'lots', expected 1..4" in str(caught.value)


WRONG = {
    "no JSON": b"{",
    "no object": b"[]",
    "NaN": b'{"params": {"/sdv2/steps": NaN}}',
    "huge number": b'{"params": {"/sdv2/steps": 1e999}}',
    "another format": preset(format="sdv2-cues"),
    "newer version": preset(version=99),
    "version of the future past": preset(version=-1),
    "number beyond all": b'{"params": {"/sdv2/steps": 1' + b"0" * 400 + b"}}",
    "key of many lines": b'{"format": "sdv2-preset", "version": 1, "params": {"a\\nb": []}}',
    "version of words": preset(version="1"),
    "no name": json.dumps({"format": "sdv2-preset", "version": 1, "params": {}}).encode(),
    "name with a path": preset(name="../x"),
    "params are a list": preset(params=[1]),
    "value is an object": preset(params={"/sdv2/steps": {}}),
    "endless transition": preset(transition={"seconds": 1e9}),
    "deep": b'{"a":' * 50 + b"1" + b"}" * 50,
    "very deep": b"[" * 100_000,
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_one_line_that_names_it(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^bad\.json: [^\n]+$"):
        PRESET.parse(content, "bad.json")


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    path.write_bytes(b" " * (MAX_BYTES + 1))

    with pytest.raises(ConfigError, match="longer than"):
        PRESET.read(path)


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_else(content: bytes) -> None:
    with contextlib.suppress(ConfigError):
        as_look(PRESET.parse(content, "x").value, "x")


def test_version_0_is_brought_up_to_date_in_memory() -> None:
    golden = b'{"format": "sdv2-preset", "version": 0, "prompt": "neon", "steps": 3, "mood": 1}'

    read = PRESET.parse(golden, "old.json")

    assert read.value.params == {"/sdv2/prompt": "neon", "/sdv2/steps": 3}
    assert read.value.name == "unnamed"
    assert read.unknown == ("mood",)


SHIPPED_FILES = sorted(SHIPPED.glob("*.json"))


def test_enough_looks_are_shipped_for_each_kind_of_engine() -> None:
    engines = [PRESET.read(path).value.engine for path in SHIPPED_FILES]

    assert engines.count("tiny") >= 12
    assert engines.count("wan") >= 6


@pytest.mark.parametrize("path", SHIPPED_FILES, ids=lambda path: path.stem)
def test_a_shipped_look_is_whole_and_says_what_the_model_knows(path: Path) -> None:
    value, unknown = PRESET.read(path)
    look = as_look(value, path.name, unknown)

    assert look.warnings == []
    assert path.stem == look.name.lower().replace(" ", "-")
    if look.engine == "tiny":
        known = {word for words in WORDS.values() for word in words.train} | WORDS.keys()
        assert set(texts_of(look)) <= known


@pytest.mark.parametrize("path", sorted((SHIPPED / "cues").glob("*.json")), ids=str)
def test_a_shipped_cue_list_uses_shipped_looks(path: Path) -> None:
    names = {PRESET.read(one).value.name for one in SHIPPED_FILES}

    cues = CUES.read(path)

    assert cues.unknown == ()
    assert {cue.preset for cue in cues.value.cues if cue.preset} <= names


def test_the_files_that_the_docs_show_are_taken() -> None:
    text = (SHIPPED.parent / "docs" / "control.md").read_text(encoding="utf-8")
    shown = [part for part in text.split("```")[1::2] if part.lstrip().startswith('{"format"')]

    preset_text, cues_text = shown
    look = as_look(PRESET.parse(preset_text, "docs").value, "docs")
    cues = CUES.parse(cues_text, "docs").value

    assert (look.warnings, look.name) == ([], "My look")
    shelf = PresetShelf(SHIPPED, SHIPPED, "tiny")
    shelf.scan()
    assert all(shelf.find(cue.preset) for cue in cues.cues if cue.preset is not None)
