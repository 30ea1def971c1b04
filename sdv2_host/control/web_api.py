"""HTTP for scripts and the CLI: status, state, set, call, notices, learn, health, metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web
from pydantic import JsonValue

from sdv2_host.control.metrics import CONTENT_TYPE, exposition
from sdv2_host.control.monitor import Monitor
from sdv2_host.control.web_answers import Answers
from sdv2_host.control.web_gate import Gate, json_answer
from sdv2_host.control.web_messages import (
    CallAnswer,
    CallRequest,
    ClientRow,
    HealthAnswer,
    LearnAnswer,
    LearnRequest,
    LineRow,
    MonitorAnswer,
    NoticesAnswer,
    SetAnswer,
    SetRequest,
    StateAnswer,
    UnlearnRequest,
)
from sdv2_host.control.web_parse import MessageError
from sdv2_host.control.web_schema import schema_text
from sdv2_host.errors import ParamError
from sdv2_host.status import HostState

ORIGIN = "api"
WELL = (HostState.LIVE, HostState.WAITING)


class LearnBook(Protocol):
    """What OSC addresses that are not ours stand for; see control/mappings.py."""

    def start(self, target: str) -> None:
        """The next unknown address plays this parameter or action. Raises ParamError."""

    def cancel(self) -> None:
        """No address is waited for."""

    def remove(self, address: str) -> None:
        """This address means nothing again. Raises ParamError."""

    def rows(self) -> list[dict[str, JsonValue]]:
        """What was learnt."""


@dataclass(frozen=True, slots=True)
class Api:
    """Fields, per process."""

    answers: Answers
    gate: Gate
    clients: Callable[[], Iterable[ClientRow]]
    learnt: LearnBook | None
    monitor: Callable[[], Monitor]

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self._health),
            web.get("/metrics", self._metrics),
            web.get("/api/schema", self._schema),
            web.get("/api/status", self._status),
            web.get("/api/state", self._state),
            web.get("/api/notices", self._notices),
            web.get("/api/monitor", self._monitor),
            web.post("/api/set", self._set),
            web.post("/api/call", self._call),
            web.get("/api/learn", self._learnt),
            web.post("/api/learn", self._learn),
            web.delete("/api/learn", self._unlearn),
        ]

    async def _health(self, _: web.Request) -> web.Response:
        status = self.answers.console.stage.snapshot()
        health = HealthAnswer(state=status.state.value, detail=status.detail)
        return json_answer(health, 200 if status.state in WELL else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        answers = self.answers
        text = exposition(answers.console.stage.snapshot(), answers.config.name, answers.uptime_s)
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _schema(self, _: web.Request) -> web.Response:
        headers = {"ETag": f'"{self.answers.schema_hash}"'}
        return web.Response(
            text=schema_text(), content_type="application/schema+json", headers=headers
        )

    async def _status(self, _: web.Request) -> web.Response:
        return json_answer(self.answers.status())

    async def _state(self, _: web.Request) -> web.Response:
        answers = self.answers
        return json_answer(
            StateAnswer(
                seq=answers.console.seq,
                values=answers.values(),
                board=answers.board(),
                clients=list(self.clients()),
            )
        )

    async def _notices(self, request: web.Request) -> web.Response:
        given = request.query.get("after", "0")
        try:
            after_ms = float(given)
        except ValueError:
            text = f"after = {given!r:.40}, expected the at_ms of a notice"
            raise MessageError("bad_message", text) from None
        return json_answer(NoticesAnswer(notices=self.answers.notices(after_ms)))

    async def _monitor(self, request: web.Request) -> web.Response:
        given = request.query.get("after")
        if given is not None and not (given.isascii() and given.isdigit() and len(given) < 19):
            text = f"after = {given!r:.40}, expected the number of a line"
            raise MessageError("bad_message", text)
        monitor = self.monitor()
        newest = monitor.newest
        rows = [
            LineRow.model_validate({**line._asdict(), "at_ms": self.answers.at_ms(line.at_ns)})
            for line in monitor.lines(int(given) if given is not None else newest)
        ]
        return json_answer(MonitorAnswer(newest=newest, lines=rows))

    async def _set(self, request: web.Request) -> web.Response:
        asked = await self.gate.parsed(request, SetRequest)
        return json_answer(SetAnswer(**self.answers.set(asked, ORIGIN)._asdict()))

    async def _call(self, request: web.Request) -> web.Response:
        asked = await self.gate.parsed(request, CallRequest)
        return json_answer(CallAnswer(text=self.answers.call(asked, ORIGIN)))

    async def _learnt(self, _: web.Request) -> web.Response:
        return self._learn_answer()

    async def _learn(self, request: web.Request) -> web.Response:
        asked = await self.gate.parsed(request, LearnRequest)
        self._book().start(asked.target)
        return self._learn_answer()

    async def _unlearn(self, request: web.Request) -> web.Response:
        asked = await self.gate.parsed(request, UnlearnRequest)
        if asked.address:
            self._book().remove(asked.address)
        else:
            self._book().cancel()
        return self._learn_answer()

    def _book(self) -> LearnBook:
        if self.learnt is None:
            raise ParamError("this host learns no OSC addresses")
        return self.learnt

    def _learn_answer(self) -> web.Response:
        learning = self.answers.console.board.get("learning", "")
        return json_answer(LearnAnswer(learning=str(learning), rows=self._book().rows()))
