"""CLIP scores equal those of the whole model, one frame at a time, as the paper's script has it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from sdv2_host.bench.clip_score import BATCH_FRAMES, ClipEncoder, load_clip
from sdv2_host.bench.paper_score import neighbour_scores, prompt_scores
from sdv2_host.errors import ModelError
from tests.bench.tiny_clip import MAX_WORDS, WORDS, write_tiny_clip

CPU = torch.device("cpu")
NEON_CITY = [[len(WORDS), 0, 1, len(WORDS) + 1]]
"""What the model reads of the prompt: start, neon, city, end."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-clip")
    write_tiny_clip(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> ClipEncoder:
    return load_clip(folder, CPU)


@pytest.fixture(scope="module")
def frames() -> Tensor:
    """uint8 [T, 3, H, W], more than a batch, wider than high."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(BATCH_FRAMES + 3, 3, 6, 8, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, (48, 64)).to(torch.uint8)


def _script_embeds(folder: Path, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings of frames and prompt as the script gets them."""
    model = CLIPModel.from_pretrained(folder, local_files_only=True)
    pictures = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
    seen = []
    for frame in frames:
        shown = pictures(images=Image.fromarray(frame.permute(1, 2, 0).numpy()))
        pixels = torch.from_numpy(shown["pixel_values"][0])[None]
        with torch.no_grad():
            both = model(input_ids=torch.tensor(NEON_CITY), pixel_values=pixels)
        seen.append(both.image_embeds)
    return torch.cat(seen), both.text_embeds


def test_scores_are_those_of_the_papers_script(
    folder: Path, encoder: ClipEncoder, frames: Tensor
) -> None:
    seen_TE, read_1E = _script_embeds(folder, frames)
    neighbours = 100 * cosine_similarity(seen_TE[1:], seen_TE[:-1])
    to_prompt = 100 * cosine_similarity(seen_TE, read_1E)

    embeds_TE = encoder.frames(frames)

    assert neighbour_scores(embeds_TE) == pytest.approx(neighbours.tolist(), abs=1e-3)
    scores = prompt_scores(embeds_TE, encoder.prompt("Neon city"))
    assert scores == pytest.approx(to_prompt.tolist(), abs=1e-3)
    assert min(scores) < max(scores) - 0.1


def test_equal_frames_score_a_hundred_and_one_frame_has_no_neighbour(
    encoder: ClipEncoder, frames: Tensor
) -> None:
    embeds_TE = encoder.frames(frames[:1].expand(3, -1, -1, -1))

    assert neighbour_scores(embeds_TE) == [pytest.approx(100), pytest.approx(100)]
    assert neighbour_scores(embeds_TE[:1]) == []


def test_a_prompt_past_the_models_length_loses_its_end(encoder: ClipEncoder) -> None:
    kept = " ".join(["rain"] * (MAX_WORDS - 2))

    torch.testing.assert_close(encoder.prompt(f"{kept} neon city"), encoder.prompt(kept))


def test_an_older_file_of_pytorch_with_its_positions_loads_as_well(
    folder: Path, encoder: ClipEncoder, frames: Tensor, tmp_path: Path
) -> None:
    older = shutil.copytree(folder, tmp_path / "older")
    weights = load_file(older / "model.safetensors")
    (older / "model.safetensors").unlink()
    positions = {"text_model.embeddings.position_ids": torch.arange(MAX_WORDS)[None]}
    torch.save({**weights, **positions}, older / "pytorch_model.bin")

    embeds_TE = load_clip(older, CPU).frames(frames[:2])

    torch.testing.assert_close(embeds_TE, encoder.frames(frames[:2]))


@pytest.mark.parametrize(
    "missing", ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"]
)
def test_a_missing_file_is_named_with_what_is_expected(
    folder: Path, tmp_path: Path, missing: str
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / missing).unlink()

    with pytest.raises(ModelError, match=r"expected a folder as that of openai/clip") as raised:
        load_clip(copy, CPU)

    named = missing if missing != "model.safetensors" else "no model in this folder"
    assert f"--clip {copy}" in str(raised.value)
    assert named in str(raised.value).split("; expected")[0]


def test_another_kind_of_model_is_said(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "config.json").write_text(json.dumps({"model_type": "siglip"}))

    with pytest.raises(ModelError, match="holds a model of type 'siglip'"):
        load_clip(copy, CPU)


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("config.json", {"text_config": {"hidden_size": "many"}}),
        ("config.json", {"vision_config": {"num_attention_heads": 0}}),
        ("config.json", {"text_config": [1]}),
        ("preprocessor_config.json", {"size": "large"}),
    ],
)
def test_a_damaged_file_is_named(
    folder: Path, tmp_path: Path, file: str, changed: dict[str, object]
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    content = json.loads((copy / file).read_text())
    (copy / file).write_text(json.dumps({**content, **changed}))

    with pytest.raises(ModelError, match="damaged") as raised:
        load_clip(copy, CPU)

    assert f"--clip {copy / file}" in str(raised.value)


def test_a_weight_that_is_no_number_is_named(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    weights["visual_projection.weight"][0, 0] = torch.nan
    save_file(weights, copy / "model.safetensors", {"format": "pt"})

    with pytest.raises(ModelError, match=r"visual_projection\.weight holds NaN"):
        load_clip(copy, CPU)


def test_half_precision_and_attention_from_elsewhere_are_not_taken_from_the_file(
    folder: Path, encoder: ClipEncoder, frames: Tensor, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    asked = {"dtype": "float16", "attn_implementation": "somebody/attention"}
    for part in (config, config["text_config"], config["vision_config"]):
        part.update(asked)
    (copy / "config.json").write_text(json.dumps(config))

    same = load_clip(copy, CPU)

    torch.testing.assert_close(same.frames(frames[:2]), encoder.frames(frames[:2]))
    torch.testing.assert_close(same.prompt("neon city"), encoder.prompt("neon city"))


def test_weights_of_another_size_are_said(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "projection_dim": 10}))

    with pytest.raises(ModelError, match=r"text_projection\.weight 12x16 for 10x16"):
        load_clip(copy, CPU)
