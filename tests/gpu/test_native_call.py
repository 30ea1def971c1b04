"""The one test that runs a C++ compiler: a toy DiT, compiled, against the same as written."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sdv2_host.errors import DeviceError
from sdv2_host.gpu.compile_models import OPTIONS, traces_of
from sdv2_host.gpu.compiler import (
    building,
    can_multiply_by_onednn,
    check_compiler,
    compile_trace,
    multiply_by_onednn_,
)
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.gpu.native_call import NativeCall
from sdv2_host.gpu.traced_calls import Trace, weights_of
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from tests.toys import TOY_DIT, TOY_TEXT, TOY_VAE

SPEC = StreamSpec(32, 48, CacheGeometry(num_sinks=1, window=2))
QUICKLY = {
    **OPTIONS,
    "aot_inductor.compile_wrapper_opt_level": "O0",
    "aot_inductor.precompile_headers": False,
}
"""To compile, that is: one small call, once."""


def toy_trace() -> Trace:
    """Of a call of a small DiT with a full cache."""
    torch.manual_seed(5)
    models = StreamModels(
        CausalWanModel(replace(TOY_DIT, num_layers=1)),
        TinyVAE(TOY_VAE),
        TinyTextEncoder(TOY_TEXT),
    )
    for module in (models.dit, models.vae, models.text):
        module.eval().requires_grad_(False)  # type: ignore[attr-defined]
    with torch.no_grad():
        return traces_of(models, SPEC)["predict"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, NativeCall]:
    """A call of the DiT with a full cache, as written and compiled, with weights of their own."""
    try:
        check_compiler()
    except DeviceError as error:
        pytest.skip(str(error))
    trace = toy_trace()
    with torch.no_grad():
        library = tmp_path_factory.mktemp("compiled") / "predict"
        with building():
            compile_trace(trace, library, QUICKLY)
    return trace, NativeCall(library, weights_of(trace.module))


def random_inputs(trace: Trace, seed: int) -> tuple[object, ...]:
    """Other numbers of the same kind; slots stay where the cache has them."""
    generator = torch.Generator().manual_seed(seed)

    def like(one: Tensor) -> Tensor:
        if not one.is_floating_point():
            return one.clone()
        return torch.randn(one.shape, generator=generator)

    return tuple(
        like(one) if isinstance(one, Tensor) else [like(tensor) for tensor in one]
        for one in trace.inputs
    )


def both(trace: Trace, call: NativeCall, seed: int) -> tuple[Trace, Trace, Tensor, Tensor]:
    """Inputs after each call, and the results, as written and compiled."""
    written = trace._replace(inputs=random_inputs(trace, seed))
    native = trace._replace(inputs=random_inputs(trace, seed))
    with torch.inference_mode():
        return written, native, trace.module(*written.inputs), call(native.flat)


def test_a_compiled_call_is_as_written_and_writes_the_same_memory(
    compiled: tuple[Trace, NativeCall],
) -> None:
    for seed in range(4):
        written, native, expected, made = both(*compiled, seed)

        torch.testing.assert_close(made, expected)
        for before, after in zip(written.flat, native.flat, strict=True):
            torch.testing.assert_close(after, before)


def test_a_compiled_call_writes_its_memory_in_place(compiled: tuple[Trace, NativeCall]) -> None:
    trace, call = compiled
    native = trace._replace(inputs=random_inputs(trace, seed=9))
    before = [one.clone() for one in native.flat]

    with torch.inference_mode():
        call(native.flat)

    changed = [not torch.equal(*pair) for pair in zip(native.flat, before, strict=True)]
    num_blocks, num_first = 1, 2 + 2
    assert changed.count(True) == 2 * num_blocks
    assert all(changed[num_first : num_first + 2 * num_blocks])


def test_weights_that_are_written_in_place_show_in_the_next_call(
    compiled: tuple[Trace, NativeCall],
) -> None:
    trace, call = compiled
    _, _, _, before = both(trace, call, seed=1)
    weights = {name: one for name, one in weights_of(trace.module).items() if "attn" in name}
    kept = {name: one.clone() for name, one in weights.items()}

    with torch.inference_mode():
        weights["dit.blocks.0.self_attn.q.weight"].mul_(1.5)
        weights["dit.blocks.0.cross_attn.o.weight"].add_(0.1)
        _, _, expected, after = both(trace, call, seed=1)
        for name, one in weights.items():
            one.copy_(kept[name])

    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, expected)


def test_a_result_is_the_callers_own(compiled: tuple[Trace, NativeCall]) -> None:
    _, _, expected, first = both(*compiled, seed=1)

    both(*compiled, seed=2)

    torch.testing.assert_close(first, expected)


def test_products_by_onednn_are_as_written_and_take_the_gelu_along() -> None:
    trace = toy_trace()
    if not can_multiply_by_onednn(trace):
        pytest.skip("torch has no oneDNN here, or takes it by itself")
    with torch.no_grad():
        program = torch.export.export(trace.module, trace.inputs, strict=False)
        multiply_by_onednn_(program)
        graph = program.graph_module.graph
        written = trace._replace(inputs=random_inputs(trace, 3))
        multiplied = trace._replace(inputs=random_inputs(trace, 3))
        expected = trace.module(*written.inputs)
        made = program.module()(*multiplied.inputs)

    torch.testing.assert_close(made, expected)
    for before, after in zip(written.flat, multiplied.flat, strict=True):
        torch.testing.assert_close(after, before)
    products = graph.find_nodes(
        op="call_function", target=torch.ops.mkldnn._linear_pointwise.default
    )
    assert {node.args[3] for node in products} == {"none", "gelu"}
    assert not graph.find_nodes(op="call_function", target=torch.ops.aten.gelu.default)
