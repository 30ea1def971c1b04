"""Panic from the control page, also where it is docked in OBS, while the worker hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.control.pages import MARKS, Room, a_browser
from tests.panic_room import PanicRoom, hung, panic_room

pytestmark = MARKS


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PanicRoom]:
    with panic_room(tmp_path_factory.mktemp("data")) as made:
        hung(made)
        yield made


@pytest.fixture(scope="module")
def page(room: PanicRoom) -> Iterator[Any]:
    with a_browser() as browser:
        yield Room(browser, room.port).page()


def escape_twice(page: Any) -> None:
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")


def press_the_button(page: Any) -> None:
    page.get_by_role("button", name="PANIC", exact=True).click()


@pytest.mark.parametrize("press", [escape_twice, press_the_button])
def test_panic_on_the_page_is_the_next_frame_but_one_at_most(
    room: PanicRoom, page: Any, press: Callable[[Any], None]
) -> None:
    room.calm()

    press(page)

    room.check_next_frame()
