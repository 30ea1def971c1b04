"""The running daemon, as commands see it: found by its runtime file, spoken to over HTTP.

Standard library alone, so that `sdv2-host set` is there at once.
"""

from __future__ import annotations

import http.client
import json
from typing import Any

from sdv2_host.control.access import read_host_file, running_hosts
from sdv2_host.errors import ConfigError, HostError, ParamError
from sdv2_host.ipc.host_file import HostFile

TIMEOUT_S = 5.0
REFUSED = 400
FORBIDDEN = (401, 403)


class NotRunningError(HostError):
    """No daemon is there to talk to."""

    exit_code = 10


class Client:
    """One daemon."""

    def __init__(self, host: HostFile) -> None:
        self.host = host

    def get(self, path: str) -> Any:
        """The answer to a question. Raises: HostError."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a wish. Raises: HostError."""
        return self._ask("POST", path, body)

    def delete(self, path: str, body: dict[str, Any]) -> Any:
        """As `post`."""
        return self._ask("DELETE", path, body)

    def call(self, action: str, *args: str | float) -> str:
        """The action is done; the line that says what it did. Raises: HostError."""
        return str(self.post("/api/call", {"action": action, "args": list(args)})["text"])

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        headers = {"Content-Type": "application/json"}
        if self.host.token:
            headers["Authorization"] = f"Bearer {self.host.token}"
        where = f"{self.host.host}:{self.host.port}"
        connection = http.client.HTTPConnection(
            self.host.host.strip("[]"), self.host.port, timeout=TIMEOUT_S
        )
        try:
            content = json.dumps(body).encode() if body is not None else None
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            text = answer.read()
        except TimeoutError:
            raise NotRunningError(
                f"host {self.host.name} at {where} did not answer in {TIMEOUT_S:g} s; "
                f"if it stays so, end process {self.host.pid} and start it again"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise NotRunningError(f"host {self.host.name} at {where} is gone ({error})") from error
        finally:
            connection.close()
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = {"message": text.decode(errors="replace")[:200]}
        if answer.status in FORBIDDEN:
            raise ConfigError(f"host {self.host.name} refuses: {parsed.get('message')}")
        if answer.status >= REFUSED:
            raise ParamError(str(parsed.get("message", f"the host answered {answer.status}")))
        return parsed


def find_host(name: str | None) -> Client:
    """The daemon of this name, or the only one that runs.

    Raises:
        NotRunningError: there is none.
        RingError: the file that says where it is cannot be trusted.
        ConfigError: there are several, and no name.
    """
    hosts = running_hosts() if name is None else [*filter(None, [read_host_file(name)])]
    if not hosts:
        which = f"host {name!r}" if name else "host"
        raise NotRunningError(f"no {which} is running; start one with sdv2-host run")
    if len(hosts) > 1:
        names = ", ".join(host.name for host in hosts)
        raise ConfigError(f"several hosts are running ({names}); say which with --name")
    return Client(hosts[0])
