"""A small Hugging Face hub on this computer: the part of its API that a download needs.

HEAD and GET of /ORG/NAME/resolve/REVISION/PATH, with X-Repo-Commit, ETag, X-Linked-Etag and
X-Linked-Size, Range, and a second address that plays the CDN that large files are redirected to.
Faults are used up one per GET, so that a second try can go well.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple

COMMIT = "c" * 40


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests; anything else is a fault of this hub."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Request(NamedTuple):
    """What a client sent."""

    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one GET."""

    cut_after: int | None = None
    stalls: bool = False
    """Sends nothing more after `cut_after`, but keeps the connection until the hub ends."""
    status: int | None = None
    error_code: str | None = None
    body: bytes | None = None
    ignores_range: bool = False


@dataclass(frozen=True)
class Hosted:
    """A file of a repository; large ones are named by their SHA-256 and lie on the CDN."""

    content: bytes
    is_large: bool = True

    @property
    def etag(self) -> str:
        if self.is_large:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass
class ToyHub:
    """Runs from `with` to its end."""

    files: dict[str, Hosted] = field(default_factory=dict)
    """By REPO/PATH."""
    head_headers: dict[str, str] = field(default_factory=dict)
    """Sent in place of the right ones."""
    faults: list[Fault] = field(default_factory=list)
    head_faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    commit: str = COMMIT
    token: str | None = None
    """What a client must show, None = nothing."""

    def __post_init__(self) -> None:
        self.ended = threading.Event()

    def __enter__(self) -> ToyHub:
        hub = self

        class Handler(_Handler):
            toy = hub

        self._servers = [_Server(("127.0.0.1", 0), Handler) for _ in range(2)]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ended.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def cdn(self) -> str:
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def gets(self) -> list[Request]:
        """The requests for bytes, without those that were only redirected."""
        return [one for one in self.requests if one.method == "GET" and "/bytes/" in one.path]


class _Handler(BaseHTTPRequestHandler):
    toy: ToyHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Not on the terminal."""

    def _answer(self) -> None:
        toy, headers = self.toy, self.headers
        toy.requests.append(
            Request(self.command, self.path, headers["Range"], headers["Authorization"])
        )
        if "/bytes/" in self.path:
            self._send_bytes(toy.files[self.path.split("/bytes/")[1]])
            return
        repo, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, path = rest.partition("/")
        if self.command == "HEAD" and toy.head_faults:
            fault = toy.head_faults.pop(0)
            self._refuse(fault.status or 500, fault.error_code)
        elif toy.token and headers["Authorization"] != f"Bearer {toy.token}":
            self._refuse(401, "GatedRepo")
        elif revision not in ("main", toy.commit):
            self._refuse(404, "RevisionNotFound")
        elif f"{repo}/{path}" not in toy.files:
            self._refuse(404, "EntryNotFound")
        else:
            self._describe(f"{repo}/{path}", toy.files[f"{repo}/{path}"])

    def _describe(self, key: str, file: Hosted) -> None:
        """What the hub says of a file, and where its bytes are."""
        said = {"X-Repo-Commit": self.toy.commit}
        if file.is_large:
            said |= {
                "X-Linked-Etag": f'"{file.etag}"',
                "X-Linked-Size": str(len(file.content)),
                "Location": f"{self.toy.cdn}/bytes/{key}",
                "Content-Length": "0",
            }
        else:
            said |= {"ETag": f'"{file.etag}"', "Content-Length": str(len(file.content))}
            said |= {"Location": f"/bytes/{key}"} if self.command == "GET" else {}
        is_redirect = file.is_large or self.command == "GET"
        self.send_response(302 if is_redirect else 200)
        if is_redirect:
            said["Content-Length"] = "0"
        for name, value in {**said, **self.toy.head_headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_bytes(self, file: Hosted) -> None:
        fault = self.toy.faults.pop(0) if self.toy.faults else Fault()
        if fault.status:
            self._refuse(fault.status, fault.error_code)
            return
        content = file.content if fault.body is None else fault.body
        wanted = None if fault.ignores_range else self.headers["Range"]
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        body = content[start:]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if fault.cut_after is None else body[: fault.cut_after])
        if fault.stalls:
            self.toy.ended.wait()
        self.close_connection = fault.cut_after is not None

    def _refuse(self, status: int, error_code: str | None) -> None:
        self.send_response(status)
        if error_code:
            self.send_header("X-Error-Code", error_code)
        self.send_header("Content-Length", "0")
        self.end_headers()
