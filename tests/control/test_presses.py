from __future__ import annotations

from sdv2_host.clock import NS_PER_S
from sdv2_host.control.presses import MAX_LEVELS, Presses

MS = NS_PER_S // 1000


def presses(levels: list[tuple[int, bool]]) -> list[int]:
    """When the button was pressed, of (time in ms, whether the level is high)."""
    told = Presses()
    return [at for at, is_high in levels if told.is_press("a button", is_high, at * MS)]


def test_a_button_with_a_release_is_pressed_as_often_and_as_fast_as_it_is() -> None:
    assert presses([(0, True), (10, False), (20, True), (30, False), (40, False)]) == [0, 20]


def test_a_button_without_a_release_is_pressed_each_time() -> None:
    assert presses([(0, True), (200, True), (500, True), (9000, True)]) == [0, 200, 500, 9000]


def test_a_press_that_is_sent_twice_over_is_one() -> None:
    assert presses([(0, True), (1, True), (1000, True), (1001, True)]) == [0, 1000]


def test_a_channel_held_is_one_press_whatever_its_senders_hiccups() -> None:
    held = [(at, True) for at in range(0, 600, 16)]

    assert presses([*held, (5000, True), (60_000, True), (60_016, False), (60_032, True)]) == [
        0,
        60_032,
    ]


def test_senders_of_noise_are_forgotten() -> None:
    told = Presses()
    for number in range(5 * MAX_LEVELS):
        told.is_press(number, True, 0)

    assert len(told) == MAX_LEVELS
