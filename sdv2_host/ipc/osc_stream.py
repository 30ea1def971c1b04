"""OSC packets in a byte stream: both framings. Codec only: no socket.

    OSC 1.0    size int32, big-endian, then the packet     liblo, python-osc 1.0, TouchOSC
    OSC 1.1    SLIP (RFC 1055): END packet END             osc.js, QLab, TouchOSC

The first byte tells which: END is 0xC0, a size within the limit begins with 0.
"""

from __future__ import annotations

from enum import Enum

from sdv2_host.errors import ProtocolError
from sdv2_host.ipc.osc import MAX_PACKET_BYTES

END, ESC, ESC_END, ESC_ESC = 0xC0, 0xDB, 0xDC, 0xDD
_SIZE_BYTES = 4


class Framing(Enum):
    SIZES = "osc 1.0"
    SLIP = "osc 1.1"


class PacketStream:
    """Bytes in, packets out, of one connection. `framing` None = nothing came yet."""

    def __init__(self) -> None:
        self.framing: Framing | None = None
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that are complete now.

        Raises:
            ProtocolError: a packet past the limit, or bytes that are no SLIP; the connection is
                of no use after that.
        """
        self._buffer += data
        if not self._buffer:
            return []
        if self.framing is None:
            self.framing = Framing.SLIP if self._buffer[0] == END else Framing.SIZES
        return self._slip() if self.framing is Framing.SLIP else self._sizes()

    def _sizes(self) -> list[bytes]:
        packets = []
        at = 0
        while len(self._buffer) - at >= _SIZE_BYTES:
            size = int.from_bytes(self._buffer[at : at + _SIZE_BYTES], "big")
            if not 0 < size <= MAX_PACKET_BYTES:
                raise ProtocolError(
                    f"packet of {size} bytes, allowed are 1..{MAX_PACKET_BYTES}; a stream is OSC "
                    "1.0 (sizes) or 1.1 (SLIP)"
                )
            end = at + _SIZE_BYTES + size
            if len(self._buffer) < end:
                break
            packets.append(bytes(self._buffer[at + _SIZE_BYTES : end]))
            at = end
        del self._buffer[:at]
        return packets

    def _slip(self) -> list[bytes]:
        *frames, rest = bytes(self._buffer).split(bytes((END,)))
        # Escapes at most double a packet.
        if len(rest) > 2 * MAX_PACKET_BYTES:
            raise ProtocolError(f"packet of more than {MAX_PACKET_BYTES} bytes")
        self._buffer[:] = rest
        return [_unescaped(frame) for frame in frames if frame]


def frame(packet: bytes, framing: Framing) -> bytes:
    """The packet as it stands in a stream of this framing."""
    if framing is Framing.SIZES:
        return len(packet).to_bytes(_SIZE_BYTES, "big") + packet
    escaped = packet.replace(bytes((ESC,)), bytes((ESC, ESC_ESC)))
    escaped = escaped.replace(bytes((END,)), bytes((ESC, ESC_END)))
    return bytes((END,)) + escaped + bytes((END,))


def _unescaped(data: bytes) -> bytes:
    pieces = data.split(bytes((ESC,)))
    restored = [pieces[0]]
    for piece in pieces[1:]:
        if piece[:1] not in (bytes((ESC_END,)), bytes((ESC_ESC,))):
            raise ProtocolError("bytes that are no SLIP: an escape of nothing")
        restored.append(bytes((END if piece[0] == ESC_END else ESC,)) + piece[1:])
    return b"".join(restored)
