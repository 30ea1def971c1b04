"""From traces of the models' calls to shared libraries, by AOTInductor and the C++ compiler.

Importing this takes seconds, as inductor does; only who compiles needs it.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch._inductor import aoti_compile_and_package, cpp_builder
from torch._inductor.utils import fresh_cache

from sdv2_host.errors import DeviceError
from sdv2_host.gpu.compile_models import OPTIONS, Option
from sdv2_host.gpu.traced_calls import Trace

INSTALL_COMPILER = {
    "win32": "install the Build Tools for Visual Studio with 'Desktop development with C++', "
    "English language pack, and start sdv2-host from its 'x64 Native Tools' prompt",
    "darwin": "run xcode-select --install",
    "linux": "install g++, on Debian and Ubuntu with apt install g++",
}


def check_compiler() -> None:
    """
    Raises:
        DeviceError: there is no C++ compiler; with what to install.
    """
    try:
        cpp_builder.get_cpp_compiler()
    except RuntimeError as error:
        install = INSTALL_COMPILER.get(sys.platform, "install one")
        raise DeviceError(
            f"compiling needs a C++ compiler and this machine has none: {install}"
        ) from error


@contextmanager
def building() -> Iterator[None]:
    """Inside, what is compiled goes through a folder of its own, and not through torch's usual one,
    which may be others' to write. One for several traces: headers are compiled ahead once."""
    with fresh_cache():
        yield


def compile_trace(trace: Trace, target: Path, options: Mapping[str, Option] = OPTIONS) -> None:
    """`target` is the trace's library.

    Raises:
        DeviceError: the compiler failed.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, of itself
        package = Path(folder) / "package.pt2"
        program = torch.export.export(trace.module, trace.inputs, strict=False)
        try:
            aoti_compile_and_package(
                program, package_path=str(package), inductor_configs=dict(options)
            )
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise DeviceError(f"the C++ compiler failed at {target.name}: {reason}") from error
        with zipfile.ZipFile(package) as archive:
            names = archive.namelist()
            code = b"".join(archive.read(one) for one in names if one.endswith(".cpp"))
            assert b"proxy_executor_call_function(" not in code, "an operation torch must run"
            (library,) = (one for one in names if one.endswith((".so", ".pyd", ".dll", ".dylib")))
            target.write_bytes(archive.read(library))
