"""Who holds a UDP port, in words for an error message."""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc")
_LISTENING_TABLES = ("net/udp", "net/udp6")
UNKNOWN_OWNER = "another program uses it, perhaps another sdv2-host"


def udp_port_owner(port: int) -> str:
    """Names the process that holds the port where the system tells (Linux, own processes)."""
    inodes = {inode for table in _LISTENING_TABLES for inode in _inodes(_PROC / table, port)}
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
    """Socket inodes bound to the port. Columns: sl local_address:port ... inode is the 10th."""
    try:
        rows = table.read_text().splitlines()[1:]
    except OSError:
        return []
    columns = [row.split() for row in rows]
    wanted = f":{port:04X}"
    return [column[9] for column in columns if len(column) > 9 and column[1].endswith(wanted)]
