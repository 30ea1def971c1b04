from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.clock import NS_PER_S
from sdv2_host.host.output_mix import MAX_DRY_FRAMES, OutputMix, fitted, mixed
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameMeta, PixelFormat, Size

S = NS_PER_S


def flat(value: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    picture = np.full((4, 4, 4), value, np.uint8)
    picture[..., 3] = 255
    return picture


def styled(value: int, source_frame: int = 1) -> Frame:
    return Frame(FrameMeta(4, 4, source_frame=source_frame), flat(value))


def given_input(number: int, value: int) -> Frame:
    return Frame(FrameMeta(4, 4, frame=number), flat(value))


def of_source(source_ns: int, number: int, value: int) -> tuple[Frame, Frame]:
    """An input frame of that source and the styled one that was made from it."""
    captured_ns = source_ns + number
    made = FrameMeta(4, 4, source_frame=number, source_capture_ts_ns=captured_ns)
    came = FrameMeta(4, 4, frame=number, capture_ts_ns=captured_ns)
    return Frame(came, flat(value)), Frame(made, flat(200))


def test_without_a_wish_the_picture_passes_untouched() -> None:
    frame = styled(7)

    assert OutputMix(Params()).compose(frame, S) is frame.pixels


@given(st.integers(0, 255), st.integers(0, 255), st.floats(0, 1))
def test_a_mixture_is_within_one_level_of_the_exact_one(a: int, b: int, share: float) -> None:
    got = mixed(flat(a), flat(b), share)[0, 0, 0]

    assert abs(int(got) - (a * (1 - share) + b * share)) <= 1


@pytest.mark.parametrize("size", [(1, 1), (3, 40_000), (301, 333), (512, 512)])
def test_a_mixture_in_parts_is_that_of_the_whole(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, *size, 4), dtype=np.uint8)

    whole = (a.astype(np.uint32) * (256 - 77) + b.astype(np.uint32) * 77 + 128) >> 8

    assert np.array_equal(mixed(a, b, 77 / 256), whole)


def test_the_ends_of_a_mixture_are_the_pictures_themselves() -> None:
    a, b = flat(1), flat(2)

    assert mixed(a, b, 0.0) is a
    assert mixed(a, b, 1.0) is b


def test_a_picture_that_is_held_is_not_mixed_with_another_source_s_frame_of_its_number() -> None:
    mix = OutputMix(Params(freeze=True, mix=0.0))
    _, held = of_source(S, 40, 40)
    for number in range(1, 50):
        came, _ = of_source(5 * S, number, number)
        mix.offer(came, Size(4, 4), 5 * S)

    assert mix.compose(held, 5 * S)[0, 0, 0] == 200


def test_dry_frames_are_matched_by_number_and_a_new_source_begins_anew() -> None:
    mix = OutputMix(Params(mix=0.0))
    for number in (50, 51, 52):
        mix.offer(given_input(number, number), Size(4, 4), S)
    assert mix.compose(styled(200, 51), S)[0, 0, 0] == 51
    for number in (1, 2):
        mix.offer(given_input(number, number), Size(4, 4), S)

    assert mix.compose(styled(200, 2), S)[0, 0, 0] == 2
    assert mix.compose(styled(200, 99), S)[0, 0, 0] == 200


def test_dry_frames_are_bounded() -> None:
    mix = OutputMix(Params(mix=0.5))
    for number in range(MAX_DRY_FRAMES + 50):
        mix.offer(given_input(number, 1), Size(4, 4), S)

    assert len(mix._dry) == MAX_DRY_FRAMES


@given(st.lists(st.sampled_from(["input", "fader up", "fader back", "other source"]), max_size=40))
def test_a_picture_that_is_held_keeps_its_mixture(events: list[str]) -> None:
    mix, held, number = OutputMix(Params(mix=0.5)), styled(200, 7), 7
    mix.offer(given_input(7, 100), Size(4, 4), 0)
    before = mix.compose(held, 0)

    for event in events:
        if event == "input":
            for _ in range(MAX_DRY_FRAMES):
                number += 1
                mix.offer(given_input(number, 50), Size(4, 4), 0)
        elif event == "other source":
            number = 1
            mix.offer(given_input(number, 50), Size(4, 4), 0)
        else:
            mix.forget_dry()
            mix.play(Params(mix=1.0 if event == "fader up" else 0.5), 0)
    mix.play(Params(mix=0.5), 0)

    assert before[0, 0, 0] == 150
    assert (mix.compose(held, 0) == before).all()


def test_a_frame_of_another_source_is_not_mixed_with_the_one_that_was_held() -> None:
    mix = OutputMix(Params(mix=0.0))
    mix.offer(given_input(7, 100), Size(4, 4), 0)
    mix.compose(styled(200, 7), 0)
    other = Frame(FrameMeta(4, 4, source_frame=7, source_capture_ts_ns=S), flat(180))

    mix.offer(Frame(FrameMeta(4, 4, frame=7, capture_ts_ns=S), flat(60)), Size(4, 4), 0)

    assert mix.compose(other, 0)[0, 0, 0] == 60


def test_panic_fades_to_the_safe_picture_and_resume_back() -> None:
    mix = OutputMix(Params(panic_s=2.0, safe="black"))
    mix.play(Params(panic_s=2.0, safe="black", panicked=True), 10 * S)

    levels = [int(mix.compose(styled(200), (10 + t) * S)[0, 0, 0]) for t in (0, 1, 2, 3)]
    mix.play(Params(panic_s=2.0, safe="black"), 13 * S)
    back = [int(mix.compose(styled(200), (13 + t) * S)[0, 0, 0]) for t in (0, 1, 2)]

    assert levels == [200, 100, 0, 0]
    assert back == [0, 100, 200]
    assert not mix.is_fading(16 * S)


def test_resume_in_the_middle_of_the_fade_turns_it_round() -> None:
    mix = OutputMix(Params(panic_s=2.0))
    mix.play(Params(panic_s=2.0, panicked=True), 0)
    mix.play(Params(panic_s=2.0), 1 * S)

    assert mix.safe_level(1 * S) == pytest.approx(0.5)
    assert mix.safe_level(2 * S) == 0


def test_hold_keeps_the_picture_of_the_moment_of_panic() -> None:
    mix = OutputMix(Params(panic_s=0.0, safe="hold"))
    mix.compose(styled(42), 0)
    mix.play(Params(panic_s=0.0, safe="hold", panicked=True), 1)

    assert mix.compose(styled(99), 2)[0, 0, 0] == 42


def test_an_input_that_stopped_is_no_safe_picture() -> None:
    mix = OutputMix(Params(panic_s=0.0))
    mix.play(Params(panic_s=0.0, panicked=True), 0)
    mix.offer(given_input(1, 60), Size(4, 4), 0)

    assert mix.compose(styled(99), S // 2)[0, 0, 0] == 60
    assert mix.compose(styled(99), 2 * S)[0, 0, 0] == 0


def test_blackout_beats_panic_and_mix() -> None:
    mix = OutputMix(Params())
    mix.play(Params(blackout=True, panicked=True, mix=0.5, panic_s=0.0), 0)
    mix.offer(given_input(1, 60), Size(4, 4), 0)

    assert mix.compose(styled(99), 1)[..., :3].max() == 0


def test_an_input_is_cropped_as_the_engine_crops_it_and_opaque() -> None:
    pixels = np.zeros((8, 16, 4), np.float32)
    pixels[:, 4:12] = 1.0  # the centre square
    frame = Frame(FrameMeta(16, 8, PixelFormat.RGBA32F), pixels)

    assert (fitted(frame, Size(4, 4)) == 255).all()


def test_input_frames_are_read_only_while_they_are_needed() -> None:
    assert not OutputMix(Params()).needs_dry(0)
    assert OutputMix(Params(mix=0.9)).needs_dry(0)
    assert OutputMix(Params(panicked=True)).needs_dry(0)


def larger(value: int, source_frame: int = 1) -> Frame:
    """As `styled`, by an engine that works at another size and aspect."""
    meta = FrameMeta(16, 6, source_frame=source_frame)
    return Frame(meta, np.full((6, 16, 4), value, np.uint8))


def test_a_held_picture_and_the_input_follow_the_size_of_another_engine() -> None:
    mix = OutputMix(Params(mix=0.25))
    mix.offer(given_input(1, 40), Size(4, 4), 0)
    mix.compose(styled(200, 1), 0)
    mix.offer(given_input(2, 80), Size(4, 4), 0)

    assert mix.compose(larger(200, 2), 0).shape == (6, 16, 4)
    assert mix.compose(larger(200, 2), 0)[0, 0, 0] == (80 * 192 + 200 * 64 + 128) // 256
    mix.play(Params(panicked=True, safe="hold", panic_s=0.0), 0)
    held = mix.compose(styled(7, 3), 0)
    assert (held.shape, int(held[0, 0, 0])) == ((4, 4, 4), (80 * 192 + 200 * 64 + 128) // 256)
