"""OBS' WebSocket server (version 5), by obs-websocket-py, an extra.

What that package leaves open is closed here: the port is always given (its default means the old
protocol), connecting and identifying are bounded in time, a refused request raises with OBS' code
and comment (the package throws both away), calls of several threads do not mix up their ids, and
the end of a connection is told. Reconnecting is the caller's: see bridge.py.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from sdv2_host.errors import ConfigError, HostError

DEFAULT_PORT = 4455
CONNECT_S = 3.0
REQUEST_S = 10.0
CLOSE_S = 1.0
READY_S = 15.0
"""Right after its port is open OBS refuses every request for a while."""
READY_POLL_S = 0.1
REQUEST_OP = 6
NOT_READY = 207
INVALID_KIND = 605
"""Of an input: the plug-in that brings this kind is not loaded."""
INVALID_FILTER_KIND = 606
NOT_FOUND = 600

log = logging.getLogger(__name__)

_NONSENSE = (KeyError, TypeError, ValueError, AttributeError)
"""What the package raises on JSON of another shape than the protocol's."""

Fields = dict[str, Any]
EventFn = Callable[[str, Fields], None]
"""(type of the event, its data), called in a thread of the connection; must not raise or block."""


class ObsError(HostError):
    """OBS cannot be reached, or does not answer."""

    exit_code = 11


class ObsPasswordError(ObsError):
    """OBS wants a password, or another one."""


class ObsRefusedError(ObsError):
    """OBS refused a request."""

    def __init__(self, request: str, code: int, comment: str) -> None:
        super().__init__(f"OBS refuses {request}: {comment or 'no reason given'} (code {code})")
        self.code = code


class ObsAddress(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(text: str) -> ObsAddress:
    """HOST, HOST:PORT or [IPV6]:PORT.

    Raises:
        ConfigError: it is none of them.
    """
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+)(?::(\d{1,5}))?", text.strip())
    port = int(found[2]) if found and found[2] else DEFAULT_PORT
    if found is None or not 0 < port < 65536:
        raise ConfigError(
            f"OBS address {text!r}: expected HOST:PORT, for example 127.0.0.1:{DEFAULT_PORT}"
        )
    return ObsAddress(found[1], port)


@dataclass(frozen=True, slots=True)
class _Package:
    """The modules of the extra."""

    core: ModuleType
    exceptions: ModuleType
    websocket: ModuleType


def load_obswebsocket() -> _Package:
    """The extra.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import obswebsocket.core  # noqa: PLC0415
        import obswebsocket.exceptions  # noqa: PLC0415
        import websocket  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"OBS is spoken to by obs-websocket-py ({error}); install it: "
            "pip install 'sdv2-host[obs]'"
        ) from error
    # Its debug lines hold what is sent, the answer to the password's challenge too.
    logging.getLogger(obswebsocket.core.__name__).setLevel(logging.ERROR)
    return _Package(obswebsocket.core, obswebsocket.exceptions, websocket)


class ObsClient:
    """One connection. Requests from any thread, one at a time.

    Made by `connect`, over with `close` or when OBS goes.
    """

    def __init__(
        self,
        package: _Package,
        address: ObsAddress,
        password: str,
        on_event: EventFn,
        on_close: Callable[[], None],
    ) -> None:
        self._package = package
        self._lock = threading.Lock()
        self._address = address
        self._session: Any = package.core.obsws(address.host, address.port, password, legacy=False)
        self._reader: Any = None
        self._thread = threading.Thread(target=self._receive, name="OBS", daemon=True)
        self._on_event = on_event
        self._on_close = on_close
        self._is_closed = False
        self.version = ""
        """Of OBS."""
        self.websocket_version = ""

    @staticmethod
    def connect(
        address: ObsAddress,
        password: str,
        on_event: EventFn = lambda kind, fields: None,
        on_close: Callable[[], None] = lambda: None,
    ) -> ObsClient:
        """A connection that answers requests.

        `on_close` is called when it ends, in any thread.

        Raises:
            ConfigError: the extra is not installed.
            ObsError: nobody is there, the password is wrong, or OBS does not get ready.
        """
        package = load_obswebsocket()
        client = ObsClient(package, address, password, on_event, on_close)
        client._open()
        try:
            client._wait_ready()
        except ObsError:
            client.close()
            raise
        return client

    def request(self, name: str, **fields: Any) -> Fields:
        """OBS' answer to the request.

        Raises:
            ObsRefusedError: with OBS' code and comment.
            ObsError: the connection is gone, or no answer came.
        """
        with self._lock:
            return self._request(name, fields)

    def close(self) -> None:
        """The connection is over."""
        self._reader.running = False
        gone = (OSError, self._package.websocket.WebSocketException)
        with contextlib.suppress(*gone):
            self._session.ws.send_close()
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S)
        self._session.ws.shutdown()

    def _open(self) -> None:
        """As obsws.connect, with a bound on the time; raises ObsError."""
        session, websocket = self._session, self._package.websocket
        session.ws = websocket.WebSocket()
        try:
            session.ws.connect(
                f"ws://{self._address}", timeout=CONNECT_S, http_no_proxy=[self._address.host]
            )
            session._auth()
        except self._package.exceptions.ConnectionFailure as error:
            session.ws.shutdown()
            raise ObsPasswordError(self._why_refused()) from error
        except (OSError, *_NONSENSE, websocket.WebSocketException) as error:
            session.ws.shutdown()
            raise ObsError(
                f"OBS at {self._address} does not answer ({error}); start OBS and switch on "
                "Tools, WebSocket Server Settings, Enable WebSocket server"
            ) from error
        session.ws.settimeout(None)
        session.eventmanager.register(lambda event: self._on_event(event.name, event.datain), None)
        session.thread_recv = self._reader = self._package.core.RecvThread(session)
        self._thread.start()

    def _why_refused(self) -> str:
        """The package reads OBS' close code 4009 as an empty answer."""
        what = "refuses the password" if self._session.password else "wants a password"
        return (
            f"OBS at {self._address} {what}; it stands in OBS under Tools, WebSocket Server "
            "Settings, Show Connect Info"
        )

    def _receive(self) -> None:
        """The package's own loop, whose end it does not always tell. Why a thread: it blocks."""
        broken = (OSError, *_NONSENSE, self._package.websocket.WebSocketException)
        try:
            self._reader.run()
        except broken as error:
            log.debug("the connection to OBS broke: %s", error)
        finally:
            self._is_closed = True
            for answered in list(self._session.events.values()):
                answered.set()  # nobody waits for what cannot come
            self._on_close()

    def _wait_ready(self) -> None:
        deadline_s = time.monotonic() + READY_S
        while True:
            try:
                answer = self.request("GetVersion")
                break
            except ObsRefusedError as error:
                if error.code != NOT_READY or time.monotonic() > deadline_s:
                    raise
                time.sleep(READY_POLL_S)
        self.version = str(answer.get("obsVersion", "?"))
        self.websocket_version = str(answer.get("obsWebSocketVersion", "?"))

    def _request(self, name: str, fields: Fields) -> Fields:
        session = self._session
        number, session.id = str(session.id), session.id + 1
        answered = session.events[number] = threading.Event()
        body = {"requestId": number, "requestType": name, "requestData": fields}
        try:
            if not self._is_closed:
                session.ws.send(json.dumps({"op": REQUEST_OP, "d": body}))
                answered.wait(REQUEST_S)
        except (OSError, self._package.websocket.WebSocketException) as error:
            raise ObsError(f"the connection to OBS is gone ({error})") from error
        finally:
            session.events.pop(number)
        answer = session.answers.pop(number, None)
        if answer is None:
            why = "went away" if self._is_closed else f"did not answer within {REQUEST_S:.0f} s"
            raise ObsError(f"OBS {why} when it was asked for {name}")
        try:
            status = answer["requestStatus"]
            is_done, code = bool(status["result"]), int(status["code"])
            comment, data = str(status.get("comment") or ""), dict(answer.get("responseData") or {})
        except _NONSENSE as error:
            raise ObsError(f"OBS answers {name} with what is not its protocol") from error
        if not is_done:
            raise ObsRefusedError(name, code, comment)
        return data
