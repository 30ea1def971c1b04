"""Whether an engine's models run compiled, and what is said of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._inductor import config as inductor

from sdv2_host.errors import DeviceError
from sdv2_host.gpu.compile_choice import CompileProgress, chosen_calls
from sdv2_host.gpu.compile_models import name_of
from sdv2_host.gpu.compiler import check_compiler
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.models.compiled_store import CompiledStore
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.model_calls import EagerCalls, ModelCalls
from sdv2_host.stream.spec import CacheMode, StreamSpec
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from tests.toys import TOY_DIT, TOY_TEXT, TOY_VAE

SPEC = StreamSpec(32, 48, CacheGeometry(num_sinks=1, window=2))
NO_COMPILER = {"cpp.cxx": ("no-such-compiler",)}


@pytest.fixture(scope="module")
def models() -> StreamModels:
    return StreamModels(CausalWanModel(TOY_DIT), TinyVAE(TOY_VAE), TinyTextEncoder(TOY_TEXT))


@pytest.fixture
def store(tmp_path: Path) -> CompiledStore:
    return CompiledStore(tmp_path / "compiled")


def choose(
    wanted: str, store: CompiledStore, models: StreamModels, spec: StreamSpec = SPEC
) -> ModelCalls:
    return chosen_calls(wanted, lambda *_: None, store, models, spec)


def test_without_anything_compiled_the_command_that_would_help_is_said(
    store: CompiledStore, models: StreamModels, caplog: pytest.LogCaptureFixture
) -> None:
    calls = choose("auto", store, models)

    assert isinstance(calls, EagerCalls)
    (record,) = caplog.records
    assert "sdv2-host compile --size 48x32" in record.message


def test_without_a_compiler_what_to_install_is_said_and_the_show_goes_on(
    store: CompiledStore, models: StreamModels, caplog: pytest.LogCaptureFixture
) -> None:
    with inductor.patch(NO_COMPILER):
        calls = choose("on", store, models)

    assert isinstance(calls, EagerCalls)
    (record,) = caplog.records
    assert "needs a C++ compiler" in record.message
    assert "install" in record.message


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
def test_what_others_may_have_written_is_not_loaded(
    store: CompiledStore, models: StreamModels, caplog: pytest.LogCaptureFixture
) -> None:
    name = name_of(models, SPEC)
    with store.making(name, {}) as folder:
        (folder / "encode").write_bytes(b"not ours")
    store.folder.chmod(0o777)

    calls = choose("auto", store, models)

    assert isinstance(calls, EagerCalls)
    assert "chmod 700" in caplog.text


def test_one_that_cannot_be_loaded_is_told_and_made_anew_when_asked(
    store: CompiledStore, models: StreamModels, caplog: pytest.LogCaptureFixture
) -> None:
    name = name_of(models, SPEC)
    with store.making(name, {"layouts": {"encode": [], "predict": [], "decode": []}}) as folder:
        for stage in ("encode", "predict", "decode"):
            (folder / stage).write_bytes(b"no library")

    calls = choose("auto", store, models)

    assert isinstance(calls, EagerCalls)
    assert "cannot be loaded" in caplog.text
    assert store.find(name) is None


@pytest.mark.parametrize(
    "spec",
    [
        StreamSpec(32, 48, SPEC.geometry, cache=CacheMode.REFERENCE),
        StreamSpec(32, 48, SPEC.geometry, device=torch.device("cuda")),
    ],
)
def test_what_cannot_be_compiled_is_not_spoken_of(
    store: CompiledStore,
    models: StreamModels,
    caplog: pytest.LogCaptureFixture,
    spec: StreamSpec,
) -> None:
    calls = choose("on", store, models, spec)

    assert isinstance(calls, EagerCalls)
    assert not caplog.records


def test_off_looks_for_nothing(
    store: CompiledStore, models: StreamModels, caplog: pytest.LogCaptureFixture
) -> None:
    calls = choose("off", store, models)

    assert isinstance(calls, EagerCalls)
    assert not caplog.records


def test_a_missing_compiler_is_an_error_that_says_what_to_do() -> None:
    with inductor.patch(NO_COMPILER), pytest.raises(DeviceError, match="C\\+\\+ compiler"):
        check_compiler()


def test_a_name_tells_sizes_caches_and_weights_apart(models: StreamModels) -> None:
    wider = StreamSpec(32, 64, SPEC.geometry)
    longer = StreamSpec(32, 48, CacheGeometry(num_sinks=1, window=3))
    in_halves = StreamSpec(32, 48, SPEC.geometry, dtype=torch.bfloat16)
    other_layout = models._replace(
        vae=TinyVAE(TOY_VAE).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    )

    names = {name_of(models, spec) for spec in (SPEC, wider, longer, in_halves)}

    assert len(names | {name_of(other_layout, SPEC)}) == 5


def test_progress_is_told_while_the_compiler_is_silent_and_only_grows() -> None:
    told: list[tuple[str, float]] = []
    progress = CompileProgress(lambda text, share: told.append((text, share)))

    for stage in ("encode", "predict", "decode"):
        with progress.span(stage):
            pass

    shares = [share for _, share in told]
    assert [text.split(",")[0] for text, _ in told] == [
        "compiling encode",
        "compiling predict",
        "compiling decode",
    ]
    assert all("left" in text or "any moment" in text for text, _ in told)
    assert shares == sorted(shares)
    assert shares[-1] < 1


def test_a_start_that_compiles_nothing_does_not_import_the_compiler() -> None:
    """It takes seconds."""
    code = "import sys, sdv2_host.gpu.compile_choice; sys.exit('torch._inductor' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], check=False)

    assert done.returncode == 0
