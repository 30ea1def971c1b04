"""The page of a host that gave its engine up: it says so, and offers to try again."""

from __future__ import annotations

import time
from pathlib import Path

from sdv2_host.host.start_book import STARTS, TOO_MANY, Starts
from tests.control.pages import MARKS, Room, a_browser, expect, page_address
from tests.hosts import RunningHost, unique_name

pytestmark = MARKS


def test_an_engine_that_was_given_up_is_tried_again_from_the_page(tmp_path: Path) -> None:
    name = unique_name()
    book = tmp_path / "state" / f"{name}.starts.json"
    book.parent.mkdir()
    book.write_bytes(STARTS.dump(Starts(begun_s=[time.time()] * TOO_MANY)))
    args = ("--name", name, "--port", "0", "--data-dir", str(tmp_path))

    with RunningHost("run", *args) as running, a_browser() as browser:
        room = Room(browser, page_address(running)[1])
        page = room.page()
        button = page.get_by_role("button", name="Try engine again")
        expect(page.locator("#connection")).to_contain_text("safe: this host has crashed")
        expect(button).to_be_visible()

        button.click()

        expect(page.locator("#connection")).to_contain_text("preparing tiny", timeout=60_000)
        assert room.faults == []
