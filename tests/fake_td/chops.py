"""Channels of numbers (CHOP_Class, Channel_Class)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tests.fake_td.access import Guarded
from tests.fake_td.errors import NotModelled, tdError
from tests.fake_td.names import free_name, matches
from tests.fake_td.operators import OP
from tests.fake_td.scripts import Scripted

if TYPE_CHECKING:
    from tests.fake_td.components import COMP
    from tests.fake_td.session import TouchDesigner


class Channel(Guarded):
    """One channel; only a Script CHOP's can be written."""

    def __init__(self, chop: CHOP, name: str, samples: list[float]) -> None:
        self._td = chop._td
        self._chop = chop
        self._name = name
        self._samples = samples

    @property
    def valid(self) -> bool:
        return any(one is self for one in self._chop._channels)

    @property
    def index(self) -> int:
        return next(i for i, one in enumerate(self._chop._channels) if one is self)

    @property
    def name(self) -> str:
        return self._name

    @property
    def owner(self) -> OP:
        return self._chop

    @property
    def vals(self) -> list[float]:
        return list(self._samples)

    @vals.setter
    def vals(self, values: list[float]) -> None:
        if len(values) != len(self._samples):
            raise tdError(f"channel {self._name}: {len(values)} values, has {len(self._samples)}")
        self._chop._check_may_write("Channel.vals")
        self._samples[:] = [float(one) for one in values]
        self._chop._written()

    def eval(self, index: int = 0) -> float:
        return self._samples[index]

    def numpyArray(self) -> NDArray[np.float32]:
        return np.array(self._samples, np.float32)

    def copyNumpyArray(self, numpyArray: NDArray[np.float32]) -> None:
        if not isinstance(numpyArray, np.ndarray) or numpyArray.dtype != np.float32:
            raise tdError("Channel.copyNumpyArray: expected float32")
        self.vals = numpyArray.tolist()

    def destroy(self) -> None:
        self._chop._check_may_write("Channel.destroy")
        self._chop._channels.remove(self)

    def __getitem__(self, index: int) -> float:
        self._guard("[]")
        return self._samples[index]

    def __setitem__(self, index: int, value: float) -> None:
        self._chop._check_may_write("Channel[]")
        self._samples[index] = float(value)
        self._chop._written()

    def __len__(self) -> int:
        return len(self._samples)

    def __float__(self) -> float:
        return self.eval()


class CHOP(OP):
    """A CHOP: `_channels` in their order, all of `_num_samples`."""

    _family: ClassVar[str] = "CHOP"
    _num_inputs: ClassVar[int] = 1

    def __init__(self, td: TouchDesigner, parent: COMP | None, name: str) -> None:
        super().__init__(td, parent, name)
        self._channels: list[Channel] = []
        self._num_samples = 1
        self._rate = 60.0
        self._is_time_slice = False

    def _check_may_write(self, what: str) -> None:
        raise tdError(f"{self._path()}.{what}: only a Script CHOP can be written")

    def _written(self) -> None:
        raise AssertionError("_check_may_write raised before")

    @property
    def numChans(self) -> int:
        return len(self._cooked())

    @property
    def numSamples(self) -> int:
        return self._num_samples

    @numSamples.setter
    def numSamples(self, count: int) -> None:
        self._check_may_write("numSamples")
        if not isinstance(count, int) or count < 1:
            raise tdError(f"numSamples = {count!r}: expected a whole number from 1")
        self._num_samples = count
        for one in self._channels:
            one._samples = (one._samples + [0.0] * count)[:count]

    @property
    def start(self) -> float:
        return 0.0

    @start.setter
    def start(self, start: float) -> None:
        raise NotModelled("CHOP.start")

    @property
    def end(self) -> float:
        return self._num_samples - 1.0

    @end.setter
    def end(self, end: float) -> None:
        raise NotModelled("CHOP.end")

    @property
    def rate(self) -> float:
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._check_may_write("rate")
        self._rate = float(rate)

    @property
    def isTimeSlice(self) -> bool:
        return self._is_time_slice

    @isTimeSlice.setter
    def isTimeSlice(self, is_slice: bool) -> None:
        self._check_may_write("isTimeSlice")
        self._is_time_slice = bool(is_slice)

    def __getitem__(self, nameOrIndex: str | int) -> Channel:
        self._guard("[]")
        channels = self._cooked()
        if isinstance(nameOrIndex, int):
            return channels[nameOrIndex]
        found = [one for one in channels if one._name == nameOrIndex]
        if not found:
            names = [one._name for one in channels]
            raise tdError(f"{self._path()} has no channel {nameOrIndex!r}: has {names}")
        return found[0]

    def chan(self, *nameOrIndex: str | int, caseSensitive: bool = True) -> Channel | None:
        return next(iter(self.chans(*nameOrIndex, caseSensitive=caseSensitive)), None)

    def chans(self, *nameOrIndex: str | int, caseSensitive: bool = True) -> list[Channel]:
        channels = self._cooked()
        return [
            one
            for index, one in enumerate(channels)
            if not nameOrIndex
            or index in nameOrIndex
            or any(isinstance(name, str) and matches(one._name, name) for name in nameOrIndex)
        ]

    def numpyArray(self) -> NDArray[np.float32]:
        return np.array([one._samples for one in self._cooked()], np.float32)

    def _cooked(self) -> list[Channel]:
        with self._td._meter.apart():
            self._demand()
        return self._channels

    def _match(self, other: CHOP) -> None:
        self._channels = [Channel(self, one._name, list(one._samples)) for one in other._channels]
        self._num_samples, self._rate = other._num_samples, other._rate


class PassingCHOP(CHOP):
    """A CHOP that shows its input."""

    def _cook(self) -> None:
        source = next(iter(self._sources()), None)
        if isinstance(source, CHOP):
            self._match(source)


class nullCHOP(PassingCHOP):
    """Null_CHOP."""


class outCHOP(PassingCHOP):
    """Out_CHOP."""


class inCHOP(PassingCHOP):
    """In_CHOP."""

    def _cook(self) -> None:
        raise NotModelled("In CHOP")


class infoCHOP(CHOP):
    """Info_CHOP."""

    def _cook(self) -> None:
        raise NotModelled("channels of an Info CHOP")


class constantCHOP(CHOP):
    """Constant_CHOP, with one channel."""

    def _cook(self) -> None:
        name, value = self._pars["const0name"], self._pars["const0value"]
        self._channels = [Channel(self, str(name._current()), [float(value._current())])]


class scriptCHOP(Scripted, CHOP):
    """Script_CHOP."""

    def clear(self) -> None:
        self._check_may_write("clear")
        self._channels = []
        self._written()

    def copy(self, chop: CHOP) -> None:
        self._check_may_write("copy")
        self._match(chop)
        self._written()

    def appendChan(self, name: str | None = None) -> Channel:
        self._check_may_write("appendChan")
        taken = [one._name for one in self._channels]
        if name in taken:
            raise tdError(f"{self._path()} has a channel {name!r} already")
        made = Channel(self, name or free_name("chan1", taken), [0.0] * self._num_samples)
        self._channels.append(made)
        self._written()
        return made

    def copyNumpyArray(self, numpyArray: NDArray[np.float32], baseName: str = "chan") -> None:
        self._check_may_write("copyNumpyArray")
        array: Any = numpyArray
        if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != 2:
            raise tdError("copyNumpyArray: expected float32 of shape (channels, samples)")
        self._num_samples = array.shape[1]
        self._channels = [
            Channel(self, f"{baseName}{number}", row.tolist())
            for number, row in enumerate(array, start=1)
        ]
        self._written()
