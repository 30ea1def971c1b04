"""The one port number of a host, for UDP and TCP; and who holds it, where it is taken."""

from __future__ import annotations

import errno
import socket
import sys
from pathlib import Path

from sdv2_host.control.access import running_hosts
from sdv2_host.errors import ConfigError

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
"""The default of 200 kB drops a quarter of a burst of 20,000 messages."""
PORT_TRIES = 20

if sys.platform == "win32":
    import ctypes

    _SIO_UDP_CONNRESET = 0x9800000C

    def _outlive_subscribers(opened: socket.socket) -> None:
        """That a receiver's port is closed is not reported on this socket.

        By default Windows fails the next read after such a send (WSAECONNRESET, 10054), and
        asyncio never reads again: one subscriber that ends makes the host deaf to all others.
        Not among the controls of `socket.ioctl`. Source: https://github.com/python/cpython/issues/127057
        """
        off, length = ctypes.c_ulong(0), ctypes.c_ulong(0)
        failed = ctypes.WinDLL("ws2_32").WSAIoctl(
            ctypes.c_size_t(opened.fileno()),
            ctypes.c_ulong(_SIO_UDP_CONNRESET),
            *(ctypes.byref(off), ctypes.c_ulong(ctypes.sizeof(off))),
            *(None, ctypes.c_ulong(0), ctypes.byref(length), None, None),
        )
        if failed:
            raise OSError(failed, "SIO_UDP_CONNRESET")

else:

    def _outlive_subscribers(opened: socket.socket) -> None:
        """Nothing is to be done: a socket without a fixed peer is told nothing of it."""


_PROC = Path("/proc")
_TABLES = {
    socket.SOCK_DGRAM: ("net/udp", "net/udp6"),
    socket.SOCK_STREAM: ("net/tcp", "net/tcp6"),
}
_WAITING_STATES = ("07", "0A")
"""Of a UDP socket that is bound, of a TCP socket that listens."""
UNKNOWN_OWNER = "another program uses it, perhaps another sdv2-host"


def bind_both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP sockets on one port; port 0 = any that is free for both.

    Raises:
        ConfigError: saying who has the port, and what to do.
    """
    for _ in range(PORT_TRIES):
        tcp = _bind(host, port, socket.SOCK_STREAM)
        number = int(tcp.getsockname()[1])
        try:
            return _bind(host, number, socket.SOCK_DGRAM), tcp
        except ConfigError:
            tcp.close()
            if port != 0:
                raise
    raise ConfigError(f"--port 0: no port of {host} is free for both UDP and TCP")


def _bind(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=kind)[0]
    except OSError as error:
        raise ConfigError(f"--listen {host}: no such address ({error.strerror})") from error
    opened = socket.socket(family, kind)
    opened.setblocking(False)
    try:
        if kind == socket.SOCK_DGRAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            _outlive_subscribers(opened)
        elif sys.platform != "win32":
            # A port of a host that ended a minute ago is free; on Windows this would share one.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(
                f"--listen {host} is no address of this machine: use 127.0.0.1 for programs of "
                "this machine, 0.0.0.0 for others too"
            ) from error
        raise ConfigError(
            f"--port {port}: {host}:{port} cannot be used ({error.strerror}); "
            f"{port_owner(kind, port)}; choose another one, for example --port {port % 65535 + 1}, "
            "or 0 for any free one"
        ) from error
    return opened


def port_owner(kind: socket.SocketKind, port: int) -> str:
    """Names the host that has the port, or the process, where the system tells of that (Linux, own
    processes)."""
    for host in running_hosts():
        if host.port == port:
            return f"host {host.name} (process {host.pid}) has it"
    inodes = {inode for table in _TABLES[kind] for inode in _inodes(_PROC / table, port)}
    links = {f"socket:[{inode}]" for inode in inodes}
    for process in _PROC.glob("[0-9]*") if links else ():
        try:
            is_owner = any(str(fd.readlink()) in links for fd in (process / "fd").iterdir())
            if is_owner:
                name = (process / "comm").read_text().strip()
                return f"process {process.name} ({name}) uses it"
        except OSError:  # ended meanwhile, or another user's
            continue
    return UNKNOWN_OWNER


def _inodes(table: Path, port: int) -> list[str]:
    """Sockets that wait at the port. Columns: sl local_address:port remote st ..., inode the 10th.

    Source: Linux, Documentation/networking/proc_net_tcp.rst.
    """
    try:
        rows = table.read_text().splitlines()[1:]
    except OSError:
        return []
    columns = [row.split() for row in rows]
    wanted = f":{port:04X}"
    return [
        column[9]
        for column in columns
        if len(column) > 9 and column[1].endswith(wanted) and column[3] in _WAITING_STATES
    ]
