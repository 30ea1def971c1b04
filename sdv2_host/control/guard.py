"""Who may talk to a page on loopback: only that page. Pure functions of request headers.

A page of any other site can reach 127.0.0.1 through the visitor's browser: by a name that resolves
there (DNS rebinding: wrong Host), by a cross-origin request or WebSocket (wrong Origin), or by
embedding (frame-ancestors). Programs that are no browser send no Origin and may talk.
"""

from __future__ import annotations

from collections.abc import Mapping

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")

GUARD_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_allowed(headers: Mapping[str, str], port: int) -> bool:
    """Whether a request with these headers comes from our own page or from no page at all."""
    host = headers.get("Host", "").lower()
    if host not in {f"{name}:{port}" for name in LOOPBACK_NAMES}:
        return False
    origin = headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{host}":
        return False
    # Following a link from another site to the page itself is fine, fetching from one is not.
    is_visit = headers.get("Sec-Fetch-Mode") == "navigate"
    return is_visit or headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
