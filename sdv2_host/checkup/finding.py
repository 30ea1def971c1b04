"""Findings: what a check saw, what it means on stage, and what to do about it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """In rising order of worry."""

    OK = "ok"
    WARNING = "warning"
    """The show goes on, but something is slower, missing or not as wished."""
    TROUBLE = "trouble"
    """The show asked for would not start, or would stop."""


TABLE_CHARS = 110
LEAST_CHARS = 40
"""Of text beside the subject, however narrow the terminal is."""
_WORRY = list(Verdict)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The one to worry most about; of none, ok."""
    return max(verdicts, key=_WORRY.index, default=Verdict.OK)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's table."""

    group: str
    """Heading that it stands under."""
    subject: str
    """What was looked at."""
    verdict: Verdict
    seen: str
    """What was found, in one sentence."""
    means: str = ""
    """On stage; '' = nothing to tell."""
    todo: str = ""
    """What to do; '' = nothing."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict.value}


@dataclass(frozen=True, slots=True)
class Subject:
    """What findings are about: makes them."""

    group: str
    name: str

    def ok(self, seen: str) -> Finding:
        return Finding(self.group, self.name, Verdict.OK, seen)

    def warning(self, seen: str, means: str, todo: str) -> Finding:
        return Finding(self.group, self.name, Verdict.WARNING, seen, means, todo)

    def trouble(self, seen: str, means: str, todo: str) -> Finding:
        return Finding(self.group, self.name, Verdict.TROUBLE, seen, means, todo)


def table_lines(findings: Iterable[Finding], width: int = TABLE_CHARS) -> list[str]:
    """For people, under headings in the order of first mention; at most `width` characters long,
    but for words that are longer."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.group, []).append(finding)
    lines = []
    for group, rows in groups.items():
        lines += ["", group]
        subject_width = max(len(row.subject) for row in rows)
        for row in rows:
            first = f"  {row.verdict.value:8} {row.subject:{subject_width}}  "
            lines += _wrapped(first, row.seen, width)
            if row.means:
                lines += _wrapped(f"{'':{len(first)}}on stage: ", row.means, width)
            if row.todo:
                lines += _wrapped(f"{'':{len(first)}}to do:    ", row.todo, width)
    return lines[1:]


def _wrapped(first: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, len(first) + LEAST_CHARS),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def summary(findings: Iterable[Finding]) -> str:
    """What it comes to, in one line."""
    verdicts = [finding.verdict for finding in findings]
    kinds = ((Verdict.TROUBLE, "to put right"), (Verdict.WARNING, "to know about"))
    parts = [f"{count} {what}" for kind, what in kinds if (count := verdicts.count(kind))]
    return f"{len(verdicts)} things looked at: {', '.join(parts) or 'all is well'}"
