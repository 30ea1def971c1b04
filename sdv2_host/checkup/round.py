"""A round of checks: side by side, each with a limit, so that a driver that hangs hangs nothing.

A check that does not answer in time is a finding of its own. Its thread is left behind: nothing
can end it, and it ends with the process.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sdv2_host.checkup.finding import Finding, Subject
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.errors import HostError
from sdv2_host.types import ProgressFn

TICK_S = 0.25


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at."""

    group: str
    name: str
    look: Callable[[], Sequence[Finding]]
    """May wait for the system, a driver, a child process or the disk."""
    limit_s: float = 15.0

    @property
    def subject(self) -> Subject:
        return Subject(self.group, self.name)


def run_round(checks: Sequence[Check], progress: ProgressFn) -> list[Finding]:
    """The findings of all checks, in the order of `checks`; at the latest after the longest limit.

    Each check has a thread of its own, since most of its time it waits for somebody else; they
    share nothing but the queue of answers.
    """
    answers: queue.SimpleQueue[tuple[int, Sequence[Finding]]] = queue.SimpleQueue()
    for index, check in enumerate(checks):
        threading.Thread(
            target=_answer, args=(index, check, answers), name=f"check {check.name}", daemon=True
        ).start()
    begin_ns = now_ns()
    found: dict[int, Sequence[Finding]] = {}
    while len(found) < len(checks):
        elapsed_s = (now_ns() - begin_ns) / NS_PER_S
        waiting = [i for i in range(len(checks)) if i not in found]
        slowest = checks[max(waiting, key=lambda i: checks[i].limit_s)]
        progress(f"looking at {slowest.name}, {elapsed_s:.0f} s", len(found) / len(checks))
        try:
            index, findings = answers.get(timeout=TICK_S)
        except queue.Empty:
            late = [i for i in waiting if checks[i].limit_s < elapsed_s]
            found |= {i: [_unanswered(checks[i])] for i in late}
        else:
            found.setdefault(index, findings)
    return [finding for index in range(len(checks)) for finding in found[index]]


def _answer(
    index: int, check: Check, answers: queue.SimpleQueue[tuple[int, Sequence[Finding]]]
) -> None:
    try:
        findings = check.look()
    except HostError as error:
        findings = [
            check.subject.trouble(str(error), "what is asked for cannot start", "see there")
        ]
    # A check that breaks must not take the others with it, and must not pass for a good one: the
    # machines where it breaks are the ones that this is for.
    except Exception as error:
        findings = [
            check.subject.warning(
                f"could not be looked at: {type(error).__name__}: {error}",
                "not known",
                "please report this line",
            )
        ]
    answers.put((index, findings))


def _unanswered(check: Check) -> Finding:
    return check.subject.trouble(
        f"no answer within {check.limit_s:g} s",
        "what hangs here hangs the start of the show too",
        "restart the computer; if it stays so, reinstall the driver or program this is about",
    )
