"""The component beside a real host, one for the whole file: frames pixel by pixel, and renders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.client.waiting import levels, numbered
from tests.touchdesigner.touch_stage import TouchStage, real_host, touch_stage

SIZE = (96, 64)
NUM_FRAMES = 60


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TouchStage]:
    """A stage whose host runs with the pass-through engine."""
    folder = tmp_path_factory.mktemp("real")
    with touch_stage(folder) as stage, real_host(stage.host, folder):
        yield stage


def picture(number: int) -> Any:
    return numbered(number, *SIZE)


def test_frames_come_out_as_they_went_in_upright_and_with_their_alpha(real: TouchStage) -> None:
    for number in (1, 2):
        shown = picture(number)
        real.show(shown)

        real.until(lambda shown=shown: np.array_equal(real.seen(), levels(shown)), f"{number}")

    real.until(lambda: real.channel("live") and real.channel("input_fps"), "numbers")
    assert real.fact("state") == "live"
    assert real.fact("version") == "0.1.0"


def test_parameters_presets_and_panic_go_both_ways(real: TouchStage) -> None:
    real.show(picture(1))
    real.until(lambda: real.status.facts.get("presets"), "met")

    real.comp.Set(noise_s_max=0.75)
    real.comp.SetPrompt("gold")
    real.until(lambda: real.fact("live_prompt") == "gold", "prompt")
    real.comp.LoadPreset("Neon Rain", seconds=0)
    real.until(lambda: real.comp.Get("prompt") not in ("gold", "watercolor painting"), "preset")
    real.comp.Panic()
    real.until(lambda: real.comp.Get("panicked") is True, "panic")
    real.comp.Resume()
    real.until(lambda: real.comp.Get("panicked") is False, "resume")

    assert "Neon Rain" in real.comp.par.Presetloadname.menuNames
    real.until(lambda: real.fact("preset") == "Neon Rain", "named")


def test_a_render_shows_exactly_the_frame_of_delay_frames_ago(real: TouchStage) -> None:
    real.touch.project.realTime = False
    real.until(lambda: real.status.delay_frames is not None, "met")
    delay = real.status.delay_frames
    real.comp.par.Lockstep = True

    seen = []
    for number in range(NUM_FRAMES):
        real.show(picture(number))
        real.play()
        seen.append(real.seen())

    assert delay == 3
    for number in range(delay, NUM_FRAMES):
        expected = levels(picture(number - delay))
        assert np.array_equal(seen[number], expected), f"frame {number}"
    real.comp.par.Lockstep = False
    assert real.comp.par.Lockstepdelay.eval() == delay
    assert real.failures() == []


def test_live_again_after_a_render(real: TouchStage) -> None:
    real.until(lambda: real.status.delay_frames is not None, "met")
    real.comp.par.Lockstep = True
    for number in range(6):
        real.show(picture(number))
        real.play()

    real.comp.par.Lockstep = False
    real.show(picture(99))

    real.until(lambda: np.array_equal(real.seen(), levels(picture(99))), "live")
