"""From traces of the models' calls to shared libraries, by AOTInductor and the C++ compiler.

Importing this takes seconds, as inductor does; only who compiles needs it.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch._inductor import aoti_compile_and_package, cpp_builder
from torch._inductor.utils import fresh_cache
from torch.export import ExportedProgram
from torch.fx import Node

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
        if can_multiply_by_onednn(trace):
            multiply_by_onednn_(program)
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


def can_multiply_by_onednn(trace: Trace) -> bool:
    """Whether this machine's torch has oneDNN's product for these numbers, and gains by it: MKL,
    which it takes by itself, has slower ones for CPUs that are not Intel's."""
    is_float = all(
        one.dtype == torch.float32 for one in trace.module.parameters() if one.is_floating_point()
    )
    is_x86 = platform.machine().lower() in {"x86_64", "amd64"}
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return is_float and is_x86 and has_onednn


def multiply_by_onednn_(program: ExportedProgram) -> None:
    """Its linears are oneDNN's, with the GELU that follows one in the same loop. Weights stay in
    their order, so that LoRAs can be merged into them; equal up to rounding."""
    graph = program.graph_module.graph
    weights = {spec.arg.name for spec in program.graph_signature.input_specs if spec.target}
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default):
        x, weight, *bias = node.args
        if weight.name not in weights:
            continue  # inductor's form of it takes nothing that is computed
        gelu = _gelu_after(node)
        last = node if gelu is None else gelu
        kind: tuple[Any, ...] = (
            ("none", [], "") if gelu is None else ("gelu", [], _approximation(gelu))
        )
        with graph.inserting_before(node):
            product = graph.call_function(
                torch.ops.mkldnn._linear_pointwise.default,
                (x, weight, bias[0] if bias else None, *kind),
            )
        product.meta = dict(last.meta)
        last.replace_all_uses_with(product)
        for replaced in (gelu, node):
            if replaced is not None:
                graph.erase_node(replaced)
    program.graph_module.recompile()


def _gelu_after(linear: Node) -> Node | None:
    """What uses it, if that is a GELU and nothing else does."""
    users = list(linear.users)
    is_gelu = len(users) == 1 and users[0].target is torch.ops.aten.gelu.default
    return users[0] if is_gelu else None


def _approximation(gelu: Node) -> str:
    return str(gelu.kwargs.get("approximate", "none"))
