"""RecordedEngine: an engine whose every call goes into a show, while one is recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

import numpy as np

from sdv2_host.config import Config
from sdv2_host.host.engine_memory import KeptMemory, Remembering
from sdv2_host.host.show_part import Beginning, Returned, ShowPart, Stepped
from sdv2_host.params import Params
from sdv2_host.types import (
    Engine,
    Frame,
    Layout,
    ProgressFn,
    Shape,
    Size,
    StyledChunk,
)

CLOSE_S = 0.5
"""For what waits when the worker ends: less than the supervisor gives it."""

WAITS = (
    "the show is recorded from the next session on, when the source begins anew: this engine "
    "cannot tell what it remembers"
)

OpenPart = Callable[[Path, Beginning], ShowPart]


class ShowNews(NamedTuple):
    """What became of a part."""

    show: str
    text: str
    """For a person."""
    has_failed: bool
    """It ended before it was asked to."""


class RecordedEngine:
    """An `Engine`, used as the one it has. It begins and ends parts as `Params.show` says.

    A recording that begins in the middle of a session begins with what the engine remembers;
    where an engine cannot give that, with its next session.

    Fields, per process: the engine, its configuration and what it was warmed up with; the show that
    is recorded, '' = none; the part of it that is written, None = not begun; those that end;
    whether the newest ended by itself; news not told yet, and of which show it was told that it
    waits; whether the engine has been at work; whether the next step begins a session.
    """

    def __init__(
        self, engine: Engine, config: Config, params: Params, open_part: OpenPart = ShowPart
    ) -> None:
        """The engine is warm, by these parameters."""
        self._engine = engine
        self._config = config
        self._params = params
        self._open_part = open_part
        self._show = ""
        self._part: ShowPart | None = None
        self._leaving: list[ShowPart] = []
        self._news: list[ShowNews] = []
        self._waiting_for = ""
        self._has_worked = False
        self._begins_session = True
        self._has_failed = False

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def size(self) -> Size | None:
        return self._engine.size

    @property
    def first_chunk_frames(self) -> int:
        return self._engine.first_chunk_frames

    @property
    def chunk_frames(self) -> int:
        return self._engine.chunk_frames

    @property
    def layout(self) -> Layout:
        return self._engine.layout

    @property
    def delay_frames(self) -> int:
        return self._engine.delay_frames

    @property
    def most_behind(self) -> int:
        return self._engine.most_behind

    @property
    def step_ms(self) -> Mapping[Shape, float]:
        return self._engine.step_ms

    def warm_up(self, params: Params, progress: ProgressFn) -> None:
        self._engine.warm_up(params, progress)

    def follow(self, params: Params) -> None:
        """A show that is not wanted any more has ended; one that is begins with the next step."""
        if self._part is not None and self._part.problem:
            self._leave()
            self._has_failed = True
        if params.show != self._show:
            self._leave()
            self._show, self._has_failed = params.show, False

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        """As the engine's, with the pictures of before a recording that begins here."""
        self.follow(params)
        is_wanted = bool(self._show) and not self._has_failed
        earlier = self._begin() if is_wanted and self._part is None else None
        if earlier is not None and earlier.ends_session:
            return earlier  # these frames follow what is gone: the next ones begin a session
        styled = self._engine.step(frames, params, layout)
        self._has_worked = True
        begins, self._begins_session = self._begins_session, False
        if self._part is not None:
            chosen = layout or self._engine.layout
            self._part.put(Stepped(frames, params, chosen, begins, styled))
        return styled if earlier is None else _joined(earlier, styled)

    def collect(self) -> StyledChunk:
        return self._returned("collect", self._engine.collect())

    def finish(self) -> StyledChunk:
        return self._returned("finish", self._engine.finish())

    def reset(self) -> None:
        self._engine.reset()
        self._begins_session = True

    def __enter__(self) -> RecordedEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """What was recorded is written; after so long it is left as it is."""
        self._leave()
        for part in self._leaving:
            part.join(timeout_s)

    def take_news(self) -> list[ShowNews]:
        """What has become of parts that ended, told once."""
        written = [part for part in self._leaving if part.is_written]
        self._leaving = [part for part in self._leaving if part not in written]
        news, self._news = [*self._news, *map(_news, written)], []
        return news

    def _begin(self) -> StyledChunk | None:
        """The next step is the first of a part, unless a LoRA is being merged or the session has
        ended: then a later one. The pictures that were on their way, if any were."""
        engine = self._engine
        kept: KeptMemory | None = None
        earlier: StyledChunk | None = None
        if self._has_worked and isinstance(engine, Remembering):
            if not engine.memory.can_keep:
                return None
            earlier = engine.finish()
            if earlier.ends_session:
                return earlier
            kept = engine.memory.keep()
        elif self._has_worked and not self._begins_session:
            self._say_it_waits()
            return None
        beginning = Beginning(self._config, self._params, engine.delay_frames, kept)
        self._part = self._open_part(Path(self._show), beginning)
        return earlier

    def _say_it_waits(self) -> None:
        if self._waiting_for != self._show:
            self._waiting_for = self._show
            self._news.append(ShowNews(self._show, WAITS, False))

    def _returned(self, do: Literal["finish", "collect"], styled: StyledChunk) -> StyledChunk:
        # A finish without pictures counts too: it may end a batch that fills anew then.
        if self._part is not None and (do == "finish" or len(styled.frames)):
            self._part.put(Returned(do, styled))
        return styled

    def _leave(self) -> None:
        if self._part is not None:
            self._part.end()
            self._leaving.append(self._part)
        self._part = None


def _joined(earlier: StyledChunk, styled: StyledChunk) -> StyledChunk:
    """The pictures of both, with what each took."""
    frames = styled.frames
    if len(earlier.frames):
        frames = np.concatenate([earlier.frames, frames])
    return replace(styled, frames=frames, parts=earlier.parts + styled.parts)


def _news(part: ShowPart) -> ShowNews:
    if not part.problem:
        text = f"recorded the show: {part.num_steps} chunks in {part.folder}"
        return ShowNews(str(part.show), text, False)
    text = (
        f"the show is not recorded any more: {part.problem}; {part.num_steps} chunks are in "
        f"{part.folder}, for sdv2-host replay"
    )
    return ShowNews(str(part.show), text, True)
