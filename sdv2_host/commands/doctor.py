"""`sdv2-host doctor`: is this computer ready for the show that is asked for?"""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

from sdv2_host.checkup.doctor import Wanted, examine, report
from sdv2_host.checkup.finding import TABLE_CHARS, Finding, Verdict, summary, table_lines, worst
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.commands.narrator import Narrator
from sdv2_host.commands.report import hardware

SILENT_S = 2.0
REPEAT_S = 10.0
"""Between two lines on something that is no terminal."""


class LateProgress:
    """A `ProgressFn` that is silent for what is soon over. Fields, per command: the narrator; when
    it began and when it last spoke."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator
        self._is_live = sys.stderr.isatty()
        self._begin_ns = self._spoken_ns = now_ns()

    def __call__(self, text: str, fraction: float) -> None:
        now = now_ns()
        pause_s = 0.0 if self._is_live else REPEAT_S
        is_late = now - self._begin_ns > SILENT_S * NS_PER_S
        if is_late and now - self._spoken_ns > pause_s * NS_PER_S:
            self._spoken_ns = now
            self._narrator.progress(text, fraction)


def doctor(wanted: Wanted, *, as_json: bool) -> int:
    """Prints what was found; the exit code: 1 where something has to be put right."""
    narrator = Narrator()
    try:
        findings = examine(wanted, LateProgress(narrator))
    finally:
        narrator.close()
    if as_json:
        print(json.dumps(json_report(wanted, findings), indent=2))
    else:
        width = shutil.get_terminal_size((TABLE_CHARS, 0)).columns
        print("\n".join((*table_lines(findings, width), "", summary(findings))))
    is_trouble = worst(finding.verdict for finding in findings) is Verdict.TROUBLE
    return 1 if is_trouble else 0


def json_report(wanted: Wanted, findings: list[Finding]) -> dict[str, Any]:
    """Findings, config and what the computer is."""
    return {**report(wanted, findings), "hardware": hardware()}
