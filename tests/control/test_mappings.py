"""Addresses that are not ours play what they were learnt for, whoever sends them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdv2_host.clock import NS_PER_S
from sdv2_host.control.mappings import LEARN_NS, MAX_ROWS, Mappings
from sdv2_host.errors import ParamError
from sdv2_host.ipc.osc import Impulse, OscArgument, OscMessage
from tests.control.fake_stage import fake_console


class Book:
    """Mappings with a clock that goes on by 100 ms with each message."""

    def __init__(self, path: Path) -> None:
        self.console, self.stage, self.witness = fake_console()
        self.now = 0
        self.mappings = Mappings(self.console, path, lambda: self.now)
        self.mappings.load()

    def send(self, address: str, *args: OscArgument, after_ms: int = 100) -> object:
        self.now += after_ms * NS_PER_S // 1000
        return self.mappings.meaning(OscMessage(address, args))

    def ranges(self) -> dict[str, tuple[object, object]]:
        return {str(r["address"]): (r["in_min"], r["in_max"]) for r in self.mappings.rows()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mappings.json"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ((0.2, 0.9), (0.0, 1.0)),
        ((3, 64), (0.0, 127.0)),
        ((0, 1, 200), (0.0, 255.0)),
        ((0.5, -0.5), (-1.0, 1.0)),
        ((-20.0, 5000.0), (-20.0, 5000.0)),
        ((7.0, 1e300, float("inf"), float("nan")), (0.0, 127.0)),
    ],
)
def test_a_faders_range_is_the_narrowest_usual_one_that_holds_it(
    path: Path, sent: tuple[float, ...], expected: tuple[float, float]
) -> None:
    book = Book(path)
    book.mappings.start("crossfade")

    for value in sent:
        book.send("/1/fader1", value)

    assert book.ranges() == {"/1/fader1": expected}
    assert Book(path).ranges() == {"/1/fader1": expected}


def test_a_learnt_fader_plays_the_whole_range_of_its_parameter(path: Path) -> None:
    book = Book(path)
    book.mappings.start("motion_gain")
    book.send("/knob", 0)
    book.send("/knob", 127)

    assert book.send("/knob", 127, after_ms=5000) == {"motion_gain": 4.0}
    assert book.send("/knob", 0) == {"motion_gain": 0.0}
    assert book.send("/knob", 900) == {"motion_gain": 4.0}
    assert book.send("/another", 1) is None


def test_a_lesson_ends_and_the_next_address_is_unknown_again(path: Path) -> None:
    book = Book(path)
    book.mappings.start("crossfade")
    book.send("/fader", 0.5)
    book.now += LEARN_NS + 1

    assert book.send("/other", 0.5) is None
    assert book.ranges().keys() == {"/fader"}


def test_what_a_sender_repeats_all_the_time_is_not_taken_for_the_fader_that_moves(
    path: Path,
) -> None:
    book = Book(path)
    for _ in range(5):
        book.send("/chan1", 0.0, after_ms=16)
        book.send("/chan2", 0.25, after_ms=16)
    book.mappings.start("crossfade")

    for value in (0.25, 0.25, 0.3):
        book.send("/chan1", 0.0, after_ms=16)
        book.send("/chan2", value, after_ms=16)

    assert book.ranges().keys() == {"/chan2"}


def test_a_button_that_was_pressed_before_the_lesson_is_learnt_by_its_next_press(
    path: Path,
) -> None:
    book = Book(path)
    book.send("/go", 1)
    book.mappings.start("panic")

    book.send("/go", 1, after_ms=2000)

    assert book.stage.params.panicked


def test_a_button_turns_a_switch_over_with_each_press(path: Path) -> None:
    book = Book(path)
    book.mappings.start("freeze")

    played = [book.send("/button", level) for level in (1.0, 1.0, 0.0, 1.0, 0.0)]
    played += [book.send("/button", 1.0, after_ms=1000) for _ in range(2)]
    played.append(book.send("/button"))

    assert [bool(one) for one in played] == [True, False, False, True, False, True, True, True]


@pytest.mark.parametrize(
    "messages",
    [
        [("/a\nb", 1.0)],
        [("/\x85", 1.0)],
        [("/inf", float("inf"))],
        [("/nan", float("nan"))],
        [("/big", 2**63 - 1), ("/big", 1e308)],
        [("/short", "a", 1.0), ("/short", 1.0), ("/short",)],
        [("/" + "x" * 254, 1.0)],
        [("/" + "é" * 254, Impulse.IMPULSE)],
        [("/text", "1.0"), ("/blob", b"1"), ("/array", (1.0,)), ("/nil", None)],
    ],
)
def test_hostile_messages_during_a_lesson_leave_a_file_that_can_be_read(
    path: Path, messages: list[tuple[str, *tuple[OscArgument, ...]]]
) -> None:
    book = Book(path)
    book.mappings.start("crossfade")

    for address, *args in messages:
        book.send(address, *args)
    book.send("/good", 0.5, after_ms=5000)
    book.mappings.start("mix")
    book.send("/good", 0.25)

    again = Book(path)
    assert again.ranges() == book.ranges()
    assert "/good" in again.ranges()
    assert again.witness.notices == []


def test_a_damaged_file_is_told_and_kept_beside_what_is_learnt_anew(path: Path) -> None:
    path.write_text('{"format": "sdv2-mappings", "mappings": [{"address": "no slash"}]}')
    book = Book(path)
    assert "mappings.0" in book.witness.notices[0].text

    book.mappings.start("crossfade")
    book.send("/fader", 0.5)

    assert "no slash" in path.with_name("mappings.json.bak").read_text()
    assert Book(path).ranges().keys() == {"/fader"}


def test_as_many_as_there_is_room_for(path: Path) -> None:
    book = Book(path)

    for number in range(MAX_ROWS + 1):
        book.mappings.start("crossfade")
        book.send(f"/fader/{number}", 0.5)

    assert len(book.ranges()) == MAX_ROWS
    assert "learnt already" in book.witness.notices[-1].text


def test_what_takes_a_text_or_is_nothing_cannot_be_learnt(path: Path) -> None:
    for target in ("prompt", "preset_load", "nothing"):
        with pytest.raises(ParamError, match="cannot be learnt"):
            Book(path).mappings.start(target)
