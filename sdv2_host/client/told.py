"""What a host told over OSC since its courier attached. Pure: messages in, values out."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from sdv2_host.client.status import Complaint
from sdv2_host.ipc.osc import OscMessage
from sdv2_host.ipc.osc_encode import OutValue

STATUS_ROOT = "/sdv2/status/"
METRICS_ROOT = "/sdv2/metrics/"
_ROOT = "/sdv2/"
_CONVERSATION = ("/sdv2/error", "/sdv2/pong")
MAX_COMPLAINTS = 20
MAX_VALUES = 1024
"""Of each kind: a host has about eighty. What is more is not a host's doing."""


@dataclass(slots=True)
class Told:
    """Per attachment: the last value of each address, by kind, and the last errors."""

    facts: dict[str, OutValue] = field(default_factory=dict)
    """By what follows /sdv2/status/."""
    metrics: dict[str, float] = field(default_factory=dict)
    """By what follows /sdv2/metrics/."""
    params: dict[str, OutValue] = field(default_factory=dict)
    """By address, as far as is known: as told, or as sent to it since."""
    fresh: dict[str, OutValue] = field(default_factory=dict)
    """Those of `params` that were told since they were handed on."""
    complaints: deque[Complaint] = field(default_factory=lambda: deque(maxlen=MAX_COMPLAINTS))
    version: str = ""
    """Of the host, as its pong says; '' = none came."""

    def take(self, message: OscMessage) -> None:
        """Anything that is not of a host's vocabulary is passed over."""
        address, args = message.address, message.args
        if address.startswith(STATUS_ROOT):
            self._fact(address.removeprefix(STATUS_ROOT), message)
        elif address.startswith(METRICS_ROOT):
            if len(args) == 1 and isinstance(args[0], float):
                _put(self.metrics, address.removeprefix(METRICS_ROOT), args[0])
        elif address == "/sdv2/error":
            self.complaints.append(Complaint(*_texts(message, 2)))
        elif address == "/sdv2/pong":
            self.version = _texts(message, 2)[1]
        elif address.startswith(_ROOT) and len(args) == 1:
            value = args[0]
            if isinstance(value, str | int | float):
                _put(self.params, address, value)
                _put(self.fresh, address, value)

    def assume(self, values: Mapping[str, OutValue]) -> None:
        """These were sent: the host tells us of them only what it made another value of."""
        for address, value in values.items():
            _put(self.params, address, value)

    def _fact(self, name: str, message: OscMessage) -> None:
        """A list of texts is one line."""
        values = [arg for arg in message.args if isinstance(arg, str | int | float)]
        if len(values) == 1:
            _put(self.facts, name, values[0])
        elif len(values) == len(message.args):
            _put(self.facts, name, ", ".join(map(str, values)))

    def text(self, name: str) -> str:
        """A fact that is a text; '' = not told."""
        value = self.facts.get(name, "")
        return value if isinstance(value, str) else ""

    @property
    def delay_frames(self) -> int | None:
        value = self.facts.get("delay_frames")
        return value if isinstance(value, int) and 0 <= value <= MAX_DELAY_FRAMES else None

    def is_on(self, address: str) -> bool:
        """Whether a switch is on, as far as was told."""
        return bool(self.params.get(address, False))


MAX_DELAY_FRAMES = 32
"""A host says 3 to 12. An input ring has at most 64 slots."""


def _put(values: dict[str, OutValue] | dict[str, float], name: str, value: OutValue) -> None:
    if name in values or len(values) < MAX_VALUES:
        values[name] = value  # type: ignore[assignment]


def _texts(message: OscMessage, count: int) -> tuple[str, ...]:
    texts = [str(arg) for arg in message.args[:count]]
    return tuple(texts + [""] * (count - len(texts)))
