"""What an engine tells of a step beside its pictures."""

from __future__ import annotations

from collections.abc import Sequence

from sdv2_host.gpu.chunk_work import Finished, Told
from sdv2_host.stream.drift import LIMIT, MAX_ANCHORS

DRIFT_TEXT = (
    f"the picture has drifted more than {LIMIT:g} times its own spread from how this look began: "
)


def notes_of(told: Told) -> dict[str, float]:
    """chunk, noise_scale, motion, steps, drift while it is watched, and recached, the frames of
    the past that were denoised once more, where there are any."""
    notes = {
        "chunk": float(told.chunk_index),
        "noise_scale": float(told.motion[0]),
        "motion": float(told.motion[1]),
        "steps": float(told.params.steps),
    }
    if told.num_recached:
        notes["recached"] = float(told.num_recached)
    if told.drift is not None:
        notes["drift"] = float(told.drift[1])
    return notes


def drift_problem(told: Told, can_reanchor: bool) -> str:
    """What the watchdog says, '' = nothing; the same as long as one drift, or one re-anchor,
    lasts. `can_reanchor`: with these parameters it does."""
    if told.drift is None:
        return ""
    _, _, is_out, anchor_left, num_anchors = told.drift.tolist()
    is_anchoring = anchor_left > 0
    if not is_out and not is_anchoring:
        return ""
    if told.params.drift == "watch":
        return DRIFT_TEXT + "/sdv2/drift act would make the sinks new"
    if not can_reanchor:
        return DRIFT_TEXT + "mode reference only watches it"
    if num_anchors < MAX_ANCHORS or is_anchoring:
        return DRIFT_TEXT + "the sinks are made new, a few chunks get more noise"
    return DRIFT_TEXT + f"{MAX_ANCHORS} re-anchors did not help, another seed or prompt may"


class Newest:
    """What is told of the newest step whose pictures are out. Per session.

    Fields: what its notes are made of, None before the first; its spans, until they are told.
    """

    def __init__(self) -> None:
        self._told: Told | None = None
        self._spans_ms: dict[str, float] = {}

    def see(self, finished: Sequence[Finished]) -> None:
        for one in finished:
            if one.told is not None:
                self._told, self._spans_ms = one.told, one.spans_ms

    def spans_ms(self) -> dict[str, float]:
        """Each step's once."""
        spans_ms, self._spans_ms = self._spans_ms, {}
        return spans_ms

    @property
    def notes(self) -> dict[str, float]:
        return {} if self._told is None else notes_of(self._told)

    def drift_problem(self, can_reanchor: bool) -> str:
        return "" if self._told is None else drift_problem(self._told, can_reanchor)
