"""A compiled function of tensors in a shared library, as AOTInductor builds them.

Called through the library's own C interface and not through torch's loader: that one keeps
Python's lock while the function runs, and every other thread of the process would stand still.

Source: torch/csrc/inductor/aoti_runtime/interface.h, of the torch that built the library.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from ctypes import POINTER, byref, c_bool, c_char_p, c_int32, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_aoti: Any = torch._C._aoti


class _Constant(ctypes.Structure):
    """AOTInductorConstantMapEntry."""

    _fields_ = (("name", c_char_p), ("handle", c_void_p))


_FUNCTIONS: dict[str, list[Any]] = {
    "CreateWithDevice": [POINTER(c_void_p), c_size_t, c_char_p, c_char_p],
    "Delete": [c_void_p],
    "GetNumConstants": [c_void_p, POINTER(c_size_t)],
    "GetConstantName": [c_void_p, c_size_t, POINTER(c_char_p)],
    "GetConstantOriginalFQN": [c_void_p, c_size_t, POINTER(c_char_p)],
    "UpdateUserManagedConstantBufferPairs": [
        *(c_void_p, POINTER(_Constant), c_size_t, c_bool, c_bool),
    ],
    "GetNumInputs": [c_void_p, POINTER(c_size_t)],
    "Run": [
        *(c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_void_p), c_size_t),
        *(c_void_p, c_void_p),
    ],
}

_new_capsule: Any = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [c_void_p, c_char_p, c_void_p]
_pointer_in: Any = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_in.restype, _pointer_in.argtypes = c_void_p, [ctypes.py_object, c_char_p]


class NativeCall:
    """One function, loaded. Calls of it do not overlap; other threads run meanwhile.

    It reads the weights where they lie: what is written into them in place shows in the next call.
    They must not move.
    """

    def __init__(self, library: Path, weights: Mapping[str, Tensor]) -> None:
        """
        Raises:
            OSError: this system cannot load the library.
            KeyError: it was built with weights of other names.
            RuntimeError: it cannot be made ready.
        """
        functions = ctypes.CDLL(str(library))
        for name, arguments in _FUNCTIONS.items():
            function = getattr(functions, f"AOTInductorModelContainer{name}")
            function.restype, function.argtypes = c_int32, arguments
        self._functions: Any = functions
        self._container = c_void_p()
        self._do("CreateWithDevice", byref(self._container), 1, b"cpu", None)
        weakref.finalize(self, functions.AOTInductorModelContainerDelete, self._container)
        self._give_weights(weights)
        num_inputs = c_size_t()
        self._do("GetNumInputs", self._container, byref(num_inputs))
        self._inputs = (c_void_p * num_inputs.value)()

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """Its one result. Nothing is checked: the inputs must be laid out as those it was built
        with."""
        assert len(inputs) == len(self._inputs), "another number of inputs than it was built with"
        # The function takes over one reference to each input, and gives one to its result.
        self._inputs[:] = _handles(inputs)
        result = (c_void_p * 1)()
        self._do("Run", self._container, self._inputs, len(inputs), result, 1, None, None)
        made: Tensor = _aoti.alloc_tensor_by_stealing_from_void_ptr(
            _new_capsule(result[0], None, None)
        )
        return made

    def _give_weights(self, weights: Mapping[str, Tensor]) -> None:
        count = c_size_t()
        self._do("GetNumConstants", self._container, byref(count))
        entries = (_Constant * count.value)()
        inner, outer = c_char_p(), c_char_p()
        for index, entry in enumerate(entries):
            self._do("GetConstantName", self._container, index, byref(inner))
            self._do("GetConstantOriginalFQN", self._container, index, byref(outer))
            weight = weights[(outer.value or b"").decode()]
            entry.name, entry.handle = inner.value, _handles([weight])[0]
        self._entries = entries  # the container looks at the names for as long as it lives
        self._do(
            "UpdateUserManagedConstantBufferPairs",
            *(self._container, entries, count, False, True),
        )

    def _do(self, name: str, *arguments: Any) -> None:
        if getattr(self._functions, f"AOTInductorModelContainer{name}")(*arguments):
            raise RuntimeError(f"the compiled function failed in {name}; stderr says how")


def _handles(tensors: Sequence[Tensor]) -> list[c_void_p | int | None]:
    """New references to these tensors, as the library takes them."""
    capsules = _aoti.unsafe_alloc_void_ptrs_from_tensors(list(tensors))
    return [_pointer_in(capsule, None) for capsule in capsules]
