"""Every call, parameter and pulse, one after the other: what a made-up host hears of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sdv2_host.errors import HostError, ParamError
from sdv2_host.ipc.frame_ring import default_run_dir
from sdv2_host.ipc.osc_encode import OutValue
from sdv2_host.surfaces.touch_row import Style
from sdv2_host.surfaces.touchdesigner import touch_pages
from tests.client.fake_host import FakeHost
from tests.touchdesigner.touch_stage import TouchStage, heard, touch_stage

ROWS = [row for rows in touch_pages().values() for row in rows]
PULSES = {row.par: row.address for row in ROWS if row.action and not row.arg_pars}
OTHER_VALUES: dict[str, OutValue] = {
    "prompt": "bronze",
    "prompt_b": "tin",
    "lora": "ink",
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TouchStage]:
    """One for the whole file: what is set by one test is no default for the next."""
    with touch_stage(tmp_path_factory.mktemp("stage")) as made:
        yield made


@pytest.fixture(scope="module")
def only_host(stage: TouchStage) -> Iterator[FakeHost]:
    with FakeHost(stage.host, default_run_dir()) as made:
        stage.until(lambda: stage.status.port == made.port and stage.status.facts, "found")
        yield made


@pytest.fixture
def host(only_host: FakeHost) -> FakeHost:
    """It has heard nothing yet."""
    only_host.heard.clear()
    return only_host


def other_value(row: Any) -> OutValue:
    """Another value than the default."""
    if row.style is Style.TOGGLE:
        return not row.default
    if row.param in OTHER_VALUES:
        return OTHER_VALUES[row.param]
    if row.choices:
        return next(choice for choice in row.choices if choice != row.default)
    low, high = float(row.minimum), float(row.maximum)
    value = high if row.default != high else low
    return int(value) if row.style is Style.INT else value


@pytest.mark.parametrize(
    ("call", "address", "args"),
    [
        (lambda c: c.Go(), "/sdv2/cue/go", ()),
        (lambda c: c.Go(3), "/sdv2/cue/go", ("3",)),
        (lambda c: c.Go(2.5), "/sdv2/cue/go", ("2.5",)),
        (lambda c: c.Go(1234.5678), "/sdv2/cue/go", ("1234.5678",)),
        (lambda c: c.Go("10"), "/sdv2/cue/go", ("10",)),
        (lambda c: c.Back(), "/sdv2/cue/back", ()),
        (lambda c: c.Panic(), "/sdv2/panic", ()),
        (lambda c: c.Resume(), "/sdv2/resume", ()),
        (lambda c: c.Snapshot(), "/sdv2/snapshot", ()),
        (lambda c: c.Tap(), "/sdv2/tempo/tap", ()),
        (lambda c: c.LoadPreset("Neon Rain"), "/sdv2/preset/load", ("Neon Rain",)),
        (lambda c: c.LoadPreset("Neon Rain", 2), "/sdv2/preset/load", ("Neon Rain", 2.0)),
        (lambda c: c.SavePreset("Mine"), "/sdv2/preset/save", ("Mine",)),
        (lambda c: c.SetPrompt("gold"), "/sdv2/prompt", ("gold",)),
        (lambda c: c.SetPrompt("gold", deck="b"), "/sdv2/prompt/b", ("gold",)),
        (lambda c: c.SetPrompt("gold", seconds=3), "/sdv2/prompt/go", ("gold", 3.0)),
        (lambda c: c.Set(steps=3), "/sdv2/steps", (3,)),
        (lambda c: c.Set(width=512), "/sdv2/output/width", (512,)),
    ],
)
def test_a_call_reaches_the_host(
    stage: TouchStage, host: FakeHost, call: Any, address: str, args: tuple[object, ...]
) -> None:
    call(stage.comp)

    stage.until(lambda: heard(host, address), address)
    assert heard(host, address) == [args]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda c: c.Set(promt="x"), ParamError, "there is prompt"),
        (lambda c: c.Get("promt"), ParamError, "there is prompt"),
        (lambda c: c.SetPrompt("x", deck="c"), ParamError, "expected a or b"),
        (lambda c: c.SetPrompt("x", seconds=500), ParamError, "expected 0..120"),
        (lambda c: c.SetPrompt("x", seconds=1, deck="b"), ParamError, "move crossfade"),
        (lambda c: c.LoadPreset("x", seconds=-1), ParamError, "expected 0..120"),
    ],
)
def test_a_wrong_call_says_what_is_allowed(
    stage: TouchStage, call: Any, error: type[HostError], text: str
) -> None:
    stage.play()

    with pytest.raises(error, match=text):
        call(stage.comp)


@pytest.mark.parametrize("row", [r for r in ROWS if r.param], ids=lambda row: row.param)
def test_a_parameter_that_is_moved_is_sent_once(
    stage: TouchStage, host: FakeHost, row: Any
) -> None:
    value = other_value(row)
    setattr(stage.comp.par, row.par, value)
    stage.play(20)
    if row.is_sent_by_pulse:
        stage.comp.par.Outputsize.pulse()
        stage.until(lambda: heard(host, "/sdv2/output/size"), "sent by the pulse")
        assert value in heard(host, "/sdv2/output/size")[0]
    else:
        stage.until(lambda: heard(host, row.address), "sent")
    stage.play(20)
    sent = [(value,)] if not row.is_sent_by_pulse else []
    assert [(pytest.approx(args[0]),) if isinstance(value, float) else args for args in sent] == (
        heard(host, row.address)
    )


@pytest.mark.parametrize(("par", "address"), PULSES.items())
def test_a_pulse_fires_its_action_once(
    stage: TouchStage, host: FakeHost, par: str, address: str
) -> None:
    getattr(stage.comp.par, par).pulse()

    stage.until(lambda: heard(host, address), address)
    stage.play(10)
    assert heard(host, address) == [()]
