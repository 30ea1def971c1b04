"""The control page while its host ends, comes back, has no input or asks for a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control.pages import MARKS, Ear, a_browser, expect, page_address
from tests.hosts import RunningHost, unique_name

pytestmark = MARKS


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with a_browser() as made:
        yield made


def a_host(folder: Path, *args: str, port: int = 0) -> RunningHost:
    shared = ("--engine", "passthrough", "--data-dir", str(folder), "--port", str(port))
    return RunningHost("run", "--name", unique_name(), *shared, *args)


def test_the_page_comes_back_with_the_host_and_says_so_meanwhile(
    browser: Any, tmp_path: Path
) -> None:
    page = browser.new_page()
    with a_host(tmp_path / "first") as host:
        address, port = page_address(host)
        page.goto(address)
        page.get_by_label("steps, as a number").fill("4")
        page.get_by_label("steps, as a number").press("Enter")
        host.process.kill()
        expect(page.locator("#banner")).to_contain_text("lost")
    expect(page.locator("#connection")).to_have_text("connection lost, trying again")
    page.get_by_role("button", name="PANIC", exact=True).click()
    expect(page.locator("#refusal")).to_contain_text("not connected, not sent")
    page.get_by_role("searchbox", name="Find a preset").focus()

    with a_host(tmp_path / "second", port=port):
        expect(page.locator("#banner")).to_be_hidden(timeout=30_000)

        expect(page.locator("body")).to_have_attribute("data-offline", "false")
        expect(page.get_by_label("steps, as a number")).to_have_value("2")
        expect(page.get_by_role("searchbox", name="Find a preset")).to_be_focused()
        Ear(port).send("/sdv2/steps", 3)
        expect(page.get_by_label("steps, as a number")).to_have_value("3")
    page.close()


def test_a_host_without_input_says_so_over_the_output(browser: Any, tmp_path: Path) -> None:
    page = browser.new_page()
    with a_host(tmp_path) as host:
        page.goto(page_address(host)[0])

        expect(page.locator("#connection")).to_contain_text("waiting: no frames come in")
        expect(page.locator("#notice")).to_contain_text("no frames come in")
    page.close()


def test_the_token_leaves_the_address_bar_and_survives_a_reload(
    browser: Any, tmp_path: Path
) -> None:
    page = browser.new_page()
    with a_host(tmp_path, "--listen", "0.0.0.0") as host:
        address, port = page_address(host)
        assert "#token=" in address

        page.goto(f"{address}&dock")
        expect(page.locator("#host-name")).not_to_have_text("sdv2-host")
        assert page.evaluate("location.href") == f"http://127.0.0.1:{port}/#dock"
        page.reload()

        expect(page.locator("#host-name")).not_to_have_text("sdv2-host")
        expect(page.locator("#token-form")).to_be_hidden()
        expect(page.locator("body")).to_have_class("dock")
    page.close()


def test_without_the_token_the_page_asks_for_it(browser: Any, tmp_path: Path) -> None:
    page = browser.new_page()
    with a_host(tmp_path, "--listen", "0.0.0.0") as host:
        address, _ = page_address(host)
        bare, token = address.split("#token=")
        page.goto(bare)
        field = page.locator("#token")

        for said in ("wrong", token):
            expect(field).to_be_focused()
            field.fill(said)
            field.press("Enter")

        expect(page.locator("#host-name")).not_to_have_text("sdv2-host")
        expect(page.locator("#token-form")).to_be_hidden()
    page.close()
