"""A round of checks: what one does must not touch the others."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from sdv2_host.checkup.finding import Finding, Subject, Verdict, summary, table_lines, worst
from sdv2_host.checkup.round import Check, run_round
from sdv2_host.errors import ModelError

FINE = Subject("Group", "fine")


def check(name: str, *findings: Finding, limit_s: float = 30.0) -> Check:
    return Check("Group", name, lambda: findings, limit_s)


def test_findings_come_in_the_order_of_the_checks_whoever_is_done_first() -> None:
    second_is_done = threading.Event()

    def first() -> Sequence[Finding]:
        assert second_is_done.wait(20)
        return [FINE.ok("first")]

    def second() -> Sequence[Finding]:
        second_is_done.set()
        return [FINE.ok("second"), FINE.ok("third")]

    found = run_round([Check("Group", "a", first), Check("Group", "b", second)], lambda *_: None)

    assert [one.seen for one in found] == ["first", "second", "third"]


def test_a_check_that_hangs_is_told_and_the_others_are_not_lost() -> None:
    never = threading.Event()

    def hang() -> Sequence[Finding]:
        never.wait(60)
        return []

    checks = [Check("Group", "driver", hang, 0.0), check("rest", FINE.ok("there"))]
    found = run_round(checks, lambda *_: None)
    never.set()

    assert [one.verdict for one in found] == [Verdict.TROUBLE, Verdict.OK]
    assert "no answer within 0 s" in found[0].seen
    assert found[0].subject == "driver"


@pytest.mark.parametrize(
    ("error", "verdict", "said"),
    [
        (ModelError("the file is gone: pull it"), Verdict.TROUBLE, "the file is gone: pull it"),
        (ZeroDivisionError("zero"), Verdict.WARNING, "ZeroDivisionError: zero"),
    ],
)
def test_a_check_that_breaks_is_told_and_never_passes(
    error: Exception, verdict: Verdict, said: str
) -> None:
    def broken() -> Sequence[Finding]:
        raise error

    found = run_round([Check("Group", "broken", broken)], lambda *_: None)

    assert [one.verdict for one in found] == [verdict]
    assert said in found[0].seen


def test_progress_names_what_is_waited_for_and_rises() -> None:
    told: list[tuple[str, float]] = []

    run_round([check("quick", limit_s=5), check("slow", limit_s=50)], lambda *one: told.append(one))

    assert all(text.startswith("looking at ") for text, _ in told)
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)


def test_the_worst_finding_decides() -> None:
    assert worst([]) is Verdict.OK
    assert worst([Verdict.WARNING, Verdict.OK]) is Verdict.WARNING
    assert worst([Verdict.WARNING, Verdict.TROUBLE, Verdict.OK]) is Verdict.TROUBLE


def test_a_line_says_what_it_means_and_what_to_do_only_where_there_is_something() -> None:
    lines = table_lines([FINE.ok("42"), FINE.trouble("broken", "no picture", "mend it")])

    assert lines == [
        "Group",
        "  ok       fine  42",
        "  trouble  fine  broken",
        "                 on stage: no picture",
        "                 to do:    mend it",
    ]


def test_a_narrow_terminal_gets_short_lines() -> None:
    lines = table_lines([FINE.ok("word " * 40)], width=60)

    assert max(map(len, lines)) <= 60
    assert " ".join(" ".join(lines).split()).count("word") == 40


def test_the_summary_counts() -> None:
    troubled = [FINE.ok(""), FINE.warning("", "", ""), FINE.trouble("", "", "")]

    assert summary(troubled) == "3 things looked at: 1 to put right, 1 to know about"
    assert summary(troubled[:2]) == "2 things looked at: 1 to know about"
    assert summary(troubled[:1]) == "1 things looked at: all is well"
