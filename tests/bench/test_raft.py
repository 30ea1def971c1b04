"""RAFT-large equals torchvision's, and tells a wrong file from the right one."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdv2_host.bench.raft import PUBLISHED, Raft, load_raft
from sdv2_host.errors import ModelError
from tests.bench.raft_recording import EVERY_PX, RECORDED, formula_weights, two_frames

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return formula_weights(Raft().state_dict())


@pytest.fixture(scope="module")
def weights_file(
    weights: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """As torchvision publishes its weights: torch.save of a state dict."""
    path = tmp_path_factory.mktemp("raft") / PUBLISHED
    torch.save(weights, path)
    return path


def test_the_tensors_have_torchvisions_names(weights: dict[str, torch.Tensor]) -> None:
    names = bytes(load_file(RECORDED)["names"].tolist()).decode().split("\n")

    assert sorted(weights) == names


def test_the_flow_is_torchvisions(weights_file: Path) -> None:
    recorded = load_file(RECORDED)["flow"]

    with torch.inference_mode():
        flow = load_raft(weights_file, CPU)(*two_frames())[0, :, ::EVERY_PX, ::EVERY_PX]

    apart = (flow - recorded).abs().max()
    print(f"flow of {recorded.abs().mean():.1f} px, {apart:.2g} px apart at worst")
    assert recorded.abs().mean() > 1
    torch.testing.assert_close(flow, recorded, atol=2e-3, rtol=1e-4)


def test_a_folder_stands_for_the_file_in_it(weights_file: Path) -> None:
    model = load_raft(weights_file.parent, CPU)

    assert not model.training


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (pickle.dumps({"feature_encoder": 1}), "refused, nothing was executed"),
        (b"<!doctype html>", "a web page"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "raft.pth"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ModelError, match=said) as raised:
        load_raft(path, CPU)

    assert str(path) in str(raised.value)
    assert PUBLISHED in str(raised.value)


def test_another_model_is_told_from_raft_large(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    small = {name: tensor for name, tensor in weights.items() if "context" not in name}
    path = tmp_path / "small.safetensors"
    save_file(small, path)

    with pytest.raises(ModelError, match=r"107 missing: context_encoder\.conv"):
        load_raft(path, CPU)
