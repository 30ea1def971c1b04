from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.errors import ProtocolError
from sdv2_host.ipc.osc_pattern import is_pattern, matching

TREE = ["/sdv2/steps", "/sdv2/noise/s_min", "/sdv2/noise/s_max", "/sdv2/seed"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/sdv2/noise/*", ["/sdv2/noise/s_min", "/sdv2/noise/s_max"]),
        ("/sdv2/noise/s_m?[nx]", ["/sdv2/noise/s_min", "/sdv2/noise/s_max"]),
        ("/sdv2/noise/s_m[!a]n", ["/sdv2/noise/s_min"]),
        ("/sdv2/{steps,seed}", ["/sdv2/steps", "/sdv2/seed"]),
        ("/sdv2/s[a-f]*", ["/sdv2/seed"]),
        ("/sdv2/*", ["/sdv2/steps", "/sdv2/seed"]),
        ("/*/*/s_max", ["/sdv2/noise/s_max"]),
        ("/sdv2/{s,st}eps", ["/sdv2/steps"]),
        ("*", []),
        ("/sdv2/steps", ["/sdv2/steps"]),
    ],
)
def test_patterns_match_within_segments(pattern: str, expected: list[str]) -> None:
    assert matching(pattern, TREE) == expected


@pytest.mark.parametrize("pattern", ["/a[b", "/a{b", "/a]b", "/a}b", "/" + "*" * 17])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    assert is_pattern(pattern)
    with pytest.raises(ProtocolError, match="pattern with"):
        matching(pattern, TREE)


def test_a_pattern_that_hangs_regular_expressions_costs_nothing() -> None:
    begin = time.process_time()

    matching("/" + "*a" * 15 + "b", ["/" + "a" * 200] * 50)

    assert time.process_time() - begin < 1


@given(
    st.lists(st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", "[a-b]"]), max_size=7),
    st.text("abc", max_size=8),
)
def test_it_agrees_with_fnmatch_within_one_segment(tokens: list[str], text: str) -> None:
    pattern = "".join(tokens)
    expected = fnmatch.fnmatchcase(text, pattern)

    assert bool(matching("/" + pattern, ["/" + text])) == expected
