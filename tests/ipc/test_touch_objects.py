"""What ctypes is told of Windows: every function that is called, sizes of a 64-bit system."""

from __future__ import annotations

import ast
import ctypes
import sys
from pathlib import Path

import pytest

from sdv2_host.errors import ConfigError
from sdv2_host.ipc import touch_objects
from sdv2_host.ipc.touch_objects import PROTOTYPES, MemoryInfo, windows_objects


def called_of_the_kernel() -> dict[str, int]:
    """Functions that the source calls on a kernel32, with how many arguments."""
    tree = ast.parse(Path(touch_objects.__file__).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {
        call.func.attr: len(call.args)
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and ast.unparse(call.func.value) in ("kernel", "self._kernel")
    }


def test_every_function_that_is_called_is_declared_with_as_many_arguments() -> None:
    declared = {name: len(arguments) for name, (_, arguments) in PROTOTYPES.items()}

    assert called_of_the_kernel() == declared


def test_handles_and_addresses_are_as_wide_as_pointers() -> None:
    # ctypes takes an int for a result that it was not told of, and cuts a handle to 32 bits.
    assert all(result is not None for result, _ in PROTOTYPES.values())
    assert ctypes.sizeof(ctypes.wintypes.HANDLE) == 8


def test_the_memory_info_has_the_layout_of_64_bits() -> None:
    assert MemoryInfo.region_bytes.offset == 24


@pytest.mark.skipif(sys.platform == "win32", reason="there it works")
def test_elsewhere_one_sentence_says_what_to_use_instead() -> None:
    with pytest.raises(ConfigError, match=r"Windows only.*component in plugins/touchdesigner"):
        windows_objects()
