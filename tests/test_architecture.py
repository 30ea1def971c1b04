"""The layers of architecture.md, by reading the imports; and what the daemon must never load."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.package_trees import PATHS, imported, imports_of, tree_of

BASE = {
    "asking",
    "errors",
    "clock",
    "cores",
    "log_stream",
    "types",
    "alpha",
    "loras",
    "prompts",
    "look_orders",
    "param_rows",
    "param_table",
    "params",
    "picture_params",
    "param_values",
    "config",
    "config_checks",
    "status",
    "actions",
    "blend",
    "video_input",
}
ALLOWED: dict[str, set[str]] = {
    # layer: the layers that its modules may import, beside their own
    "base": set(),
    "ipc": {"base"},
    "client": {"base", "ipc"},
    "wan": {"base"},
    "scheduling": {"base"},
    "stream": {"base", "wan"},
    "models": {"base"},
    "gpu": {"base", "wan", "stream", "models"},
    "stages": {"base", "wan", "stream", "gpu", "models"},
    "sources": {"base", "ipc"},
    "sinks": {"base", "ipc"},
    "surfaces": {"base"},
    "control": {"base", "ipc", "models"},
    "obs": {"base", "ipc", "control"},
    "host": {"base", "ipc", "models", "control", "obs", "scheduling"},
    "checkup": {"base", "ipc", "models", "control", "obs", "host", "sinks", "sources"},
    "worker": {
        *("base", "ipc", "control", "host", "stream", "gpu", "models", "wan", "scheduling"),
        "stages",
    },
}
SCHEDULING_MODULES = {"stream.slo", "stream.setups", "stream.ladder"}
"""Of the stream what decides and computes nothing: no torch, so that the daemon may ask it."""
WORKER_MODULES = {
    *("host.worker", "host.engines", "host.schedule", "host.text_worker"),
    *("stages.rank_process", "stages.rank_speaker", "stages.rank_work", "stages.ring_engine"),
}
LAZY_IMPORTS = {
    # Where an import inside a function is right: torch or an optional package, resolved once.
    "host.engines": {
        "sdv2_host.gpu.compile_choice",
        "sdv2_host.gpu.tiny_engine",
        "sdv2_host.gpu.wan_engine",
        "sdv2_host.stages.ring_engine",
    },
    "gpu.compile_models": {"sdv2_host.gpu.compiler"},
    "host.text_worker": {"sdv2_host.gpu.prompt_writer"},
    "control.discovery": {"zeroconf.asyncio"},
    "obs.client": {"obswebsocket.core", "obswebsocket.exceptions", "websocket"},
    "sinks.virtual_camera": {"pyvirtualcam"},
}
UNCHECKED = {"cli", "commands", "bench", "__init__", "__main__"}
"""The top: may import anything, each command what it needs, when it needs it."""
TORCH_FREE_LAYERS = {
    *("base", "ipc", "client", "models", "sources", "sinks", "surfaces", "control", "obs", "host"),
    *("scheduling", "checkup"),
}


def layer_of(module: str) -> str:
    head = module.split(".", maxsplit=1)[0]
    if module in WORKER_MODULES:
        return "worker"
    if module in SCHEDULING_MODULES:
        return "scheduling"
    return "base" if head in BASE else head


MODULES = [module for module in PATHS if module.split(".")[0] not in UNCHECKED]


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module: str) -> None:
    layer = layer_of(module)
    ours = {name.removeprefix("sdv2_host.") for name in imports_of(module) if "sdv2_host." in name}
    layers = {layer_of(name) for name in ours if name.split(".")[0] not in UNCHECKED}
    above = {name for name in ours if name.split(".")[0] in UNCHECKED}

    assert layers <= ALLOWED[layer] | {layer}
    assert above == set()


@pytest.mark.parametrize("module", MODULES)
def test_torch_stays_below_the_worker(module: str) -> None:
    heads = {name.split(".")[0] for name in imports_of(module)}

    assert layer_of(module) not in TORCH_FREE_LAYERS or "torch" not in heads


@pytest.mark.parametrize("module", MODULES)
def test_imports_stand_at_the_top(module: str) -> None:
    functions = [
        node
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    inside = {name for one in functions for node in ast.walk(one) for name in imported(node)}

    assert inside <= LAZY_IMPORTS.get(module, set())


@pytest.mark.parametrize(
    "module",
    [
        *("sdv2_host.host.daemon", "sdv2_host.host.worker", "sdv2_host.host.text_worker"),
        "sdv2_host.ipc.frame_ring",
    ],
)
def test_importing_leaves_torch_unloaded(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = done.stdout.split()
    assert module in loaded
    assert "torch" not in loaded


CLIENT = [f"sdv2_host.{name}" for name in MODULES if name.startswith("client.")]


@pytest.mark.parametrize("modules", [["sdv2_host.ipc.frame_ring"], CLIENT])
def test_what_a_creative_application_loads_is_the_standard_library_and_numpy(
    modules: list[str],
) -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        f"import {', '.join(modules)}\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert {"sdv2_host", "numpy"} <= loaded
    assert loaded <= {"sdv2_host", "numpy"} | sys.stdlib_module_names


def test_the_client_is_looked_at_whole() -> None:
    assert "sdv2_host.client.courier" in CLIENT
