"""The control page in a real browser, played against a real daemon with foreign OSC beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sdv2_host.actions import ACTIONS
from sdv2_host.param_table import PARAMS
from tests.control.pages import MARKS, Ear, Room, a_room, expect

AXE = Path(__file__).parent.parent / "peers" / "node_modules" / "axe-core" / "axe.min.js"

pytestmark = MARKS
needs_axe = pytest.mark.skipif(not AXE.exists(), reason="npm ci in tests/peers installs axe-core")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with a_room(tmp_path_factory.mktemp("data")) as made:
        yield made


def test_a_slider_moves_the_other_page_and_the_osc_subscriber(room: Room) -> None:
    first, second, ear = room.page(), room.page(), Ear(room.port)
    ear.send("/sdv2/subscribe")
    ear.until("/sdv2/steps")

    slider = first.get_by_role("slider", name="steps", exact=True)
    slider.focus()
    slider.press("End")

    ear.until("/sdv2/steps", 4)
    expect(second.get_by_role("slider", name="steps", exact=True)).to_have_value("4")
    expect(first.locator("#engine-retry")).to_be_hidden()
    expect(second.get_by_label("steps, as a number")).to_have_value("4")
    first.close()
    second.close()


def test_osc_moves_the_slider_of_the_page(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)

    ear.send("/sdv2/norm/noise/s_max", 0.25)

    expect(page.get_by_role("slider", name="noise s max")).to_have_value("0.25")
    page.close()


def test_a_prompt_is_applied_and_said_to_be(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)
    ear.send("/sdv2/subscribe")

    page.get_by_role("textbox", name="Deck A").fill("neon rain")
    page.get_by_role("textbox", name="Deck A").press("Enter")

    ear.until("/sdv2/prompt", "neon rain")
    expect(page.locator("#prompt-state")).to_have_text("applied")
    page.close()


def test_escape_twice_is_panic_and_resume_ends_it(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)
    ear.send("/sdv2/subscribe")
    ear.until("/sdv2/steps")

    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    ear.until("/sdv2/panicked", True)
    panic = page.get_by_role("button", name="PANIC", exact=True)
    expect(panic).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Resume", exact=True).click()

    ear.until("/sdv2/panicked", False)
    page.close()


def test_a_refused_message_shows_in_the_log(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)

    ear.send("/sdv2/promt", "x")

    expect(page.locator("#log")).to_contain_text("did you mean /sdv2/prompt?")
    page.close()


def test_a_preset_is_loaded_and_a_look_saved(room: Room) -> None:
    page = room.page()
    page.get_by_role("button", name="Save as…").click()
    page.get_by_label("Name").fill("my look")
    page.get_by_role("button", name="Save", exact=True).click()
    mine = page.get_by_role("group", name="Presets").get_by_role("button", name="my look")
    expect(mine).to_have_attribute("aria-pressed", "true")
    page.get_by_label("motion gain, as a number").fill("2")
    page.get_by_label("motion gain, as a number").press("Enter")
    expect(mine).to_have_attribute("data-changed", "true")

    mine.click()

    expect(page.get_by_label("motion gain, as a number")).to_have_value("1")
    expect(mine).to_have_attribute("data-changed", "false")
    page.close()


def test_a_look_is_kept_recalled_and_forgotten_by_its_name(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)
    ear.send("/sdv2/subscribe")
    names = page.locator("#look-names option")
    noise = page.get_by_role("slider", name="noise s max")
    ear.send("/sdv2/noise/s_max", 0.75)
    expect(noise).to_have_value("0.75")
    page.get_by_role("combobox", name="Look").fill("calm")
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(names).to_have_attribute("value", "calm")

    ear.send("/sdv2/noise/s_max", 0.9)
    expect(noise).to_have_value("0.9")
    page.get_by_role("button", name="Recall", exact=True).click()
    expect(noise).to_have_value("0.75")
    page.get_by_role("button", name="Forget", exact=True).click()

    expect(names).to_have_count(0)
    page.close()


def test_an_osc_address_is_learnt_and_forgotten(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)
    page.get_by_role("button", name="Learn an OSC address for mix").click()
    expect(page.locator("#learning")).to_contain_text("mix")

    ear.send("/my/fader", 0.5)

    expect(page.get_by_role("slider", name="mix")).to_have_value("0.5")
    forget = page.get_by_role("button", name="Forget /my/fader")
    forget.click()
    expect(forget).to_have_count(0)
    page.close()


def test_a_fader_under_the_finger_is_not_written_over(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)
    ear.send("/sdv2/subscribe")
    fader = page.get_by_role("slider", name="Crossfader from deck A to deck B")
    fader.hover()
    page.mouse.down()
    ear.until("/sdv2/prompt/crossfade", 0.5)
    expect(fader).to_have_value("0.5")

    ear.send("/sdv2/prompt/crossfade", 0.125)
    ear.send("/sdv2/noise/s_min", 0.25)
    expect(page.get_by_role("slider", name="noise s min")).to_have_value("0.25")

    expect(fader).to_have_value("0.5")
    page.mouse.up()
    expect(fader).to_have_value("0.13")  # in its steps of 0.01
    page.get_by_role("button", name="Cut to deck A").click()
    ear.until("/sdv2/prompt/crossfade", 0.0)
    page.close()


def test_a_prompt_half_written_is_kept_and_one_applied_follows(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)
    deck, other = (page.get_by_role("textbox", name=f"Deck {name}") for name in "AB")
    deck.fill("half wri")

    ear.send("/sdv2/prompt", "from elsewhere")
    ear.send("/sdv2/prompt/b", "the other deck")
    expect(other).to_have_value("the other deck")
    expect(deck).to_have_value("half wri")
    expect(page.locator("[data-deck=prompt]")).to_have_attribute("data-draft", "true")
    deck.fill("written")
    deck.press("Enter")
    expect(page.locator("[data-deck=prompt]")).to_have_attribute("data-draft", "false")
    ear.send("/sdv2/prompt", "from elsewhere")

    expect(deck).to_have_value("from elsewhere")
    ear.send("/sdv2/prompt/b", "")
    page.close()


def test_a_prompt_of_2000_characters_is_applied_and_a_longer_one_said_to_be_cut(room: Room) -> None:
    page = room.page()
    deck, said = page.get_by_role("textbox", name="Deck A"), page.locator("#prompt-state")

    deck.fill("x" * 2000)
    deck.press("Enter")
    expect(said).to_have_text("applied")
    deck.fill("x" * 2001)
    deck.press("Enter")

    expect(said).to_have_text("applied, cut to 2000 characters")
    page.close()


def test_osc_addresses_of_all_that_is_played_are_copied_at_a_click(room: Room) -> None:
    page = room.page()
    page.locator("body").press("o")
    marked = page.evaluate("[...document.querySelectorAll('[data-osc]')].map(e => e.dataset.osc)")
    said = page.locator("#osc-said")

    for name, address in (
        ("PANIC", "panic"),
        ("Blackout", "blackout"),
        ("Save as…", "preset/save"),
    ):
        page.get_by_role("button", name=name, exact=True).click()
        expect(said).to_have_text(f"copied /sdv2/{address}")
    page.get_by_role("button", name="Neon Rain").click()
    expect(said).to_have_text('copied /sdv2/preset/load "Neon Rain"')
    page.locator("#crossfade").click()
    expect(said).to_have_text("copied /sdv2/prompt/crossfade")

    by_text = {"prompt_transition", "prompt_blend"}  # what Apply does
    by_two = {"noise_bounds", "output_size"}  # each half has a slider
    assert set(PARAMS) | set(ACTIONS) == set(marked) | by_text | by_two | {"panicked"}
    panic = page.get_by_role("button", name="PANIC", exact=True)
    expect(panic).to_have_attribute("aria-pressed", "false")
    page.close()


def test_the_crossfader_can_be_learnt(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)
    page.get_by_role("button", name="OSC", exact=True).click()
    page.locator("#crossfade").click()
    page.get_by_role("button", name="Learn", exact=True).click()
    expect(page.locator("#learning")).to_be_in_viewport()

    ear.send("/my/crossfader", 0.5)

    expect(page.locator("#crossfade")).to_have_value("0.5")
    page.get_by_role("button", name="Forget /my/crossfader").click()
    ear.send("/sdv2/prompt/crossfade", 0.0)
    page.close()


def test_space_is_go_also_after_a_click_on_something_else(room: Room) -> None:
    page = room.page()
    page.get_by_role("combobox", name="Cue list").select_option("First night")
    expect(page.locator("#cue-next")).to_have_text("1 doors")
    page.get_by_role("button", name="Neon Rain").click()

    page.keyboard.press(" ")

    expect(page.locator("#cues [aria-current]")).to_have_text("1 doors")
    expect(page.locator("#cue-next")).to_have_text("2 opening")
    page.close()


@pytest.mark.parametrize("fragment", ["", "#dock"])
def test_what_was_refused_is_said_where_it_is_seen(room: Room, fragment: str) -> None:
    page, ear = room.page(fragment, (400, 700)), Ear(room.port)

    ear.send(f"/sdv2/nosuch/{fragment}")

    expect(page.locator("#refusal")).to_contain_text(f"/sdv2/nosuch/{fragment}")
    expect(page.locator("#refusal")).to_be_in_viewport()
    page.close()


def test_a_long_state_leaves_the_head_of_the_page_low_at_any_width(room: Room) -> None:
    page = room.page()
    expect(page.locator("#connection")).to_contain_text("no frames come in on ring")
    expect(page.locator("#fps")).to_have_text("0.0")

    for width_px in range(1000, 1700, 7):
        page.set_viewport_size({"width": width_px, "height": 900})
        assert page.locator("header").bounding_box()["height"] < 130, width_px
    page.close()


@pytest.mark.parametrize("width", [320, 390, 620, 1000, 1180, 1400, 1900])
def test_nothing_is_wider_than_the_page(room: Room, width: int) -> None:
    page = room.page("", (width, 800))
    for deck in "AB":
        page.get_by_role("textbox", name=f"Deck {deck}").fill("x" * 2000)
    page.get_by_role("button", name="Save as…").click()
    page.get_by_label("Name").fill("W" * 64)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("button", name="W" * 64)).to_have_attribute("aria-pressed", "true")

    wider = page.evaluate(
        "[...document.querySelectorAll('body, main, section, .panel *, header *')]"
        ".filter(e => e.offsetWidth && e.scrollWidth > e.clientWidth + 1 && e.clientWidth"
        " && getComputedStyle(e).textOverflow !== 'ellipsis').map(e => e.outerHTML.slice(0, 90))"
    )

    assert wider == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_the_dock_of_obs_shows_what_is_played_and_plays_it(room: Room) -> None:
    """OBS loads a dock as a document of its own, as here: nobody else may frame the page."""
    page = room.page("#dock", (320, 700))
    panic = page.get_by_role("button", name="PANIC", exact=True)

    expect(page.locator("#controls-panel")).to_be_hidden()
    panic.click()
    expect(panic).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(panic).to_have_attribute("aria-pressed", "false")

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    header = page.evaluate("fetch('/').then(r => r.headers.get('content-security-policy'))")
    assert "frame-ancestors 'none'" in header
    page.close()


@needs_axe
@pytest.mark.parametrize("size", [(1400, 900), (320, 800)], ids=str)
@pytest.mark.parametrize("state", ["", "#dock", "help", "save", "osc"])
def test_axe_finds_no_violation(room: Room, state: str, size: tuple[int, int]) -> None:
    page = room.page(state if state.startswith("#") else "", size)
    if state == "help":
        page.locator("#help-button").click()
    elif state == "save":
        page.locator("#preset-save").click()
    elif state == "osc":
        page.locator("body").press("o")

    # Half-way from one colour to another is no contrast that anybody reads at.
    page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]

    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == []
    page.close()


def test_an_engine_that_is_not_installed_is_refused_and_its_choice_goes_back(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)
    ear.send("/sdv2/subscribe")
    ear.until("/sdv2/engine", "as-started")
    engine = page.locator("#control-engine")

    engine.select_option("wan-14b")

    expect(page.locator("#log")).to_contain_text("sdv2-host models pull wan-14b")
    expect(engine).to_have_value("as-started")
    ear.send("/sdv2/engine", "wan-1.3b")
    ear.until("/sdv2/engine", "as-started")
    page.close()


def test_every_control_can_be_reached_by_tab(room: Room) -> None:
    page = room.page()
    reached = set()
    for _ in range(240):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.outerHTML"))

    ids = page.evaluate(
        "[...document.querySelectorAll('#controls input[id], #controls select')].map(e => e.id)"
    )
    assert set(ids) <= reached
    page.close()
