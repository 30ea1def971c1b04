"""Files are data: none that is read can run anything, whatever its name and its content."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sdv2_host.bench.hour_trace import Trace
from sdv2_host.control.cue_file import CUES
from sdv2_host.control.preset_file import PRESET
from sdv2_host.control.state_file import STATE
from sdv2_host.errors import HostError
from sdv2_host.ipc.ring_descriptor import parse_descriptor
from sdv2_host.wan.checkpoint import open_checkpoint
from sdv2_host.wan.tensor_file import open_tensor_file
from tests.package_trees import PATHS, tree_of

FORBIDDEN = frozenset(
    (
        "eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "pickle.Unpickler",
        "marshal.load", "marshal.loads", "shelve.open", "os.system", "os.popen", "yaml.load",
        "torch.hub.load", "asyncio.create_subprocess_shell", "runpy.run_path",
    )
)  # fmt: skip


class Trap:
    """Makes a folder when it is unpickled by something that runs what a pickle asks for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._path),)


def faults(tree: ast.Module) -> list[str]:
    """Calls that could run what a file says."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        says = {word.arg: ast.unparse(word.value) for word in node.keywords}
        is_loose = (
            (name == "torch.load" and says.get("weights_only") != "True")
            or says.get("allow_pickle", "False") != "False"
            or says.get("shell", "False") != "False"
            or says.get("trust_remote_code", "False") != "False"
        )
        if name in FORBIDDEN or is_loose:
            found.append(name)
    return found


def test_no_module_calls_what_runs_the_content_of_a_file() -> None:
    found = {module: calls for module in PATHS if (calls := faults(tree_of(module)))}

    # Our own installer of the component.
    assert found == {"commands.touchdesigner": ["runpy.run_path"]}


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "pickle.loads(data)",
        "eval(text)",
    ],
)
def test_a_call_that_runs_the_content_of_a_file_is_noticed(source: str) -> None:
    assert len(faults(ast.parse(source))) == 1


def _saved_by_numpy(trap: Trap) -> bytes:
    file = io.BytesIO()
    np.savez(file, params=np.array([trap], object))
    return file.getvalue()


READERS: dict[str, Callable[[Path], object]] = {
    "model": open_checkpoint,
    "tensors": open_tensor_file,
    "preset": PRESET.read,
    "cue list": CUES.read,
    "state": STATE.read,
    "trace": Trace.load,
    "descriptor": lambda path: parse_descriptor(path.read_bytes()[:4096], "s"),
}
HEADER = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
BOMBS: dict[str, Callable[[Path], bytes]] = {
    "pickle": lambda marker: pickle.dumps(Trap(marker)),
    "old pickle": lambda marker: pickle.dumps(Trap(marker), protocol=0),
    "nested JSON": lambda marker: b'{"a":' * 100_000,
    "nested lists": lambda marker: b"[" * 500_000,
    "a number of a million digits": lambda marker: b'{"version": ' + b"9" * 1_000_000 + b"}",
    "safetensors header of 2^63 bytes": lambda marker: struct.pack("<Q", 1 << 63) + HEADER,
    "safetensors header past the end": lambda marker: struct.pack("<Q", 10**8) + HEADER,
    "safetensors without its tensors": lambda marker: struct.pack("<Q", len(HEADER)) + HEADER,
    "half a zip": lambda marker: b"PK\x03\x04" + bytes(100),
    "numpy without an end": lambda marker: b"\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'shape': (",
    "numpy of objects": lambda marker: _saved_by_numpy(Trap(marker)),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npz", ".json"])
def test_a_file_that_is_a_trap_is_refused_in_words_and_nothing_runs(
    reader: str, bomb: str, suffix: str, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    file = tmp_path / f"file{suffix}"
    file.write_bytes(BOMBS[bomb](marker))

    with pytest.raises(HostError):
        READERS[reader](file)

    assert not marker.exists()


def test_the_traps_work_where_pickles_are_run(tmp_path: Path) -> None:
    pickle.loads(BOMBS["pickle"](tmp_path / "ran"))
    pickle.loads(BOMBS["old pickle"](tmp_path / "too"))
    with np.load(
        io.BytesIO(BOMBS["numpy of objects"](tmp_path / "three")), allow_pickle=True
    ) as file:
        _ = file["params"]

    assert {path.name for path in tmp_path.iterdir()} == {"ran", "too", "three"}
