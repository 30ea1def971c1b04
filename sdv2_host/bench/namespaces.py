"""Linux: a network of its own for the calling thread, and a network device that a program serves;
a view of the files of its own, and small file systems in it.

Nothing made here has a name in the system. A network or a view ends with the last thread and
process that is in it, a device with its file, so nothing is left however the program ends.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from pathlib import Path

from sdv2_host.errors import ConfigError

MTU_BYTES = 32768
"""Large: whoever serves the device in Python handles few packets."""

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000  # linux/mount.h
_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_IFF_TUN_NO_PI = 0x1001
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU = 0x8914, 0x8916, 0x891C, 0x8922
_IFF_UP = 0x1
_NAME_BYTES = 16
_IFREQ_BYTES = 40
_TUN = b"tun0"

if sys.platform == "linux":
    import fcntl

    def leave_network() -> None:
        """The calling thread, and what it starts from now on, has a network with loopback alone.

        Raises:
            ConfigError: the system does not let this user.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET):
            raise _not_allowed("network namespace", os.strerror(ctypes.get_errno()))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            _ask(sock, _SIOCSIFFLAGS, b"lo", struct.pack("H", _IFF_UP))

    def leave_mounts() -> None:
        """What the calling thread, and what it starts from now on, mounts is seen by them alone.

        Raises:
            ConfigError: the system does not let this user.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_FS | _CLONE_NEWNS) or libc.mount(
            None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None
        ):
            raise _not_allowed("mount namespace", os.strerror(ctypes.get_errno()))

    def mount_small(folder: Path, num_bytes: int) -> None:
        """The folder is empty and has room for so many bytes, in memory; after `leave_mounts`.

        Raises:
            ConfigError: the system does not let this user.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        options = f"size={num_bytes},mode=1777".encode()
        if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(0), options):
            raise _not_allowed("file system", os.strerror(ctypes.get_errno()))

    def unmount(folder: Path) -> None:
        """What `mount_small` has put there is gone."""
        detach = 2  # sys/mount.h: whoever has a file open there keeps it
        ctypes.CDLL(None).umount2(os.fsencode(folder), detach)

    def open_device(address: str) -> int:
        """The calling thread's network has a device with this address, in a /24; a file to read
        what is sent through it from, packet by packet, and to write what arrives there to.

        Raises:
            ConfigError: the system does not let this user.
        """
        try:
            file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            raise _not_allowed("network device", str(error)) from error
        fcntl.ioctl(file, _TUNSETIFF, _request(_TUN, struct.pack("H", _IFF_TUN_NO_PI)))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            _ask(sock, _SIOCSIFADDR, _TUN, _inet(address))
            _ask(sock, _SIOCSIFNETMASK, _TUN, _inet("255.255.255.0"))
            _ask(sock, _SIOCSIFMTU, _TUN, struct.pack("i", MTU_BYTES))
            _ask(sock, _SIOCSIFFLAGS, _TUN, struct.pack("H", _IFF_UP))
        return file

    def pids_beside(thread_id: int) -> list[int]:
        """Processes other than this one that are in the network of that thread of this process."""
        network = Path(f"/proc/self/task/{thread_id}/ns/net").readlink()
        return [
            int(process.name)
            for process in Path("/proc").iterdir()
            if process.name.isdigit()
            and int(process.name) != os.getpid()
            and _network_of(process) == network
        ]

    def _network_of(process: Path) -> Path | None:
        """None = it has ended, or is another user's."""
        try:
            return (process / "ns" / "net").readlink()
        except OSError:
            return None

    def _not_allowed(what: str, reason: str) -> ConfigError:
        return ConfigError(
            f"this system does not let us have a {what} ({reason}): be root, in a container with "
            "--cap-add SYS_ADMIN --cap-add NET_ADMIN --device /dev/net/tun"
        )

    def _ask(sock: socket.socket, request: int, device: bytes, value: bytes) -> None:
        fcntl.ioctl(sock, request, _request(device, value))

    def _request(device: bytes, value: bytes) -> bytes:
        """struct ifreq."""
        return (device.ljust(_NAME_BYTES, b"\0") + value).ljust(_IFREQ_BYTES, b"\0")

    def _inet(address: str) -> bytes:
        """struct sockaddr_in."""
        return struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(address))

else:
    _ONLY_LINUX = "namespaces are a thing of Linux: run it there"

    def leave_network() -> None:
        raise ConfigError(_ONLY_LINUX)

    def leave_mounts() -> None:
        raise ConfigError(_ONLY_LINUX)

    def mount_small(folder: Path, num_bytes: int) -> None:
        raise ConfigError(_ONLY_LINUX)

    def unmount(folder: Path) -> None:
        raise ConfigError(_ONLY_LINUX)

    def open_device(address: str) -> int:
        raise ConfigError(_ONLY_LINUX)

    def pids_beside(thread_id: int) -> list[int]:
        raise ConfigError(_ONLY_LINUX)
