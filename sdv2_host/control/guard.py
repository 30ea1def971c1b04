"""Which requests are answered. Pure functions of request headers; every refusal has its counter.

A page of any other site can reach us through the visitor's browser: by a name that resolves to us
(DNS rebinding: wrong Host), by a cross-origin request or WebSocket (wrong Origin, Sec-Fetch-Site),
or by embedding (frame-ancestors). Programs that are no browser send no Origin and may talk.

An OBS dock and a browser source load the page as their top-level document, as a tab does: neither
is a frame, so `frame-ancestors 'none'` does not concern them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sdv2_host.control.access import Access
from sdv2_host.control.web_limits import Reason

HTTP_PORT = 80
BEARER = "bearer "

GUARD_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered."""

    status: int
    counter: Reason
    text: str

    @property
    def code(self) -> str:
        return self.counter if self.counter != "bad_messages" else "bad_message"


def check_origin(
    headers: Mapping[str, str], port: int, access: Access, *, is_page: bool
) -> Refusal | None:
    """None for a request that comes from our own page or from no page at all.

    `is_page`: what is asked for may be visited from anywhere by following a link.
    """
    host = headers.get("Host", "").lower()
    name, host_port = _split_host(host)
    if host_port != port or not access.knows_host(name):
        return Refusal(403, "evil_host", "this host does not answer to that name")
    origin = headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{host}":
        return Refusal(403, "evil_origin", "other sites may not use this host")
    is_visit = is_page and headers.get("Sec-Fetch-Mode") == "navigate"
    if not is_visit and headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return Refusal(403, "evil_origin", "other sites may not use this host")
    return None


def _split_host(host: str) -> tuple[str, int]:
    """Name and port of a Host header; port 0 = not a port."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host, HTTP_PORT
    return name, int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0


def check_token(headers: Mapping[str, str], access: Access) -> Refusal | None:
    """None for a request with our token, or where none is needed."""
    if access.is_local:
        return None
    given = headers.get("Authorization", "")
    if not given.lower().startswith(BEARER):
        return Refusal(401, "no_token", "expected the token of the start as Authorization: Bearer")
    if not access.admits(given[len(BEARER) :].strip()):
        return Refusal(401, "wrong_token", "not the token of this start")
    return None


def check_content(method: str, content_type: str) -> Refusal | None:
    """None for a request that a form of another site could not have sent."""
    if method in ("GET", "HEAD") or content_type == "application/json":
        return None
    return Refusal(415, "bad_messages", "expected Content-Type: application/json")
