"""Writes down what every Python process with this folder on its path does to the file system.

Found and run by Python itself at the start of each process. One line of JSON per audit event, in
the file that WITNESS names: the event, the paths in its arguments, whether it changes anything.
"""

from __future__ import annotations

import json
import os
import sys

CHANGES = frozenset(
    (
        "os.chflags", "os.chmod", "os.chown", "os.link", "os.mkdir", "os.mkfifo", "os.mknod",
        "os.remove", "os.rename", "os.rmdir", "os.setxattr", "os.symlink", "os.truncate",
        "os.utime", "shutil.chown", "shutil.copyfile", "shutil.move", "shutil.rmtree",
        "tempfile.mkdtemp", "tempfile.mkstemp", "sqlite3.connect",
    )
)  # fmt: skip
LOOKS = frozenset(("glob.glob", "os.chdir", "os.listdir", "os.scandir", "os.walk"))
PROGRAMS = frozenset(
    ("ctypes.dlopen", "os.exec", "os.posix_spawn", "os.system", "subprocess.Popen")
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_out = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def _texts(value: object) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [text for one in value for text in _texts(one)]
    if isinstance(value, (str, os.PathLike)):
        return [str(value)]
    return [os.fsdecode(value)] if isinstance(value, bytes) else []


def _see(event: str, args: tuple[object, ...]) -> None:
    if event == "open":
        paths, changes = _texts(args[0]), isinstance(args[2], int) and bool(args[2] & WRITING)
    elif event in CHANGES or event in LOOKS:
        paths, changes = _texts(list(args)), event in CHANGES
    elif event in PROGRAMS:
        paths, changes = _texts(list(args[:2])), False
    else:
        return
    seen = {"event": event, "paths": paths, "changes": changes, "pid": os.getpid()}
    os.write(_out, (json.dumps(seen) + "\n").encode())


sys.addaudithook(_see)
