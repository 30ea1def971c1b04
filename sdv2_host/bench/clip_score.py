"""The CLIP that a user brings, for the paper's scores: frames and prompts to embeddings.

The paper's script takes openai/clip-vit-base-patch32. Importing this module takes seconds, for
transformers: only what was given a CLIP does.

Source: StreamDiffusionV2, evaluation/clip_score.py at commit 4e0f1f6, since removed.

# T frames   B frames of a batch   H W size in px   E embedding
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from sdv2_host.errors import ModelError
from sdv2_host.wan.filling import check
from sdv2_host.wan.weights import Part

PUBLISHED = "openai/clip-vit-base-patch32"
BATCH_FRAMES = 16
CLIP = Part(
    "",
    ("model.safetensors", "pytorch_model.bin"),
    lambda name: name,
    # Counting from 0, which older files keep as if it were learnt.
    passengers=(
        "text_model.embeddings.position_ids",
        "vision_model.embeddings.position_ids",
    ),
)


class ClipEncoder:
    """Both halves of a CLIP with what each must be shown. Nothing survives a call."""

    def __init__(
        self, model: CLIPModel, tokenizer: Tokenizer, pictures: CLIPImageProcessorPil, name: str
    ) -> None:
        """Takes the tokenizer over. `name` is what reports call it."""
        tokenizer.no_padding()
        tokenizer.enable_truncation(model.text_model.embeddings.position_embedding.num_embeddings)
        self.name = name
        self._model, self._tokenizer, self._pictures = model, tokenizer, pictures

    @torch.inference_mode()
    def frames(self, frames_T3HW: Tensor) -> Tensor:
        """Embeddings of length 1 of uint8 frames: [T, E] on the CPU."""
        parts = []
        for batch_B3HW in torch.split(frames_T3HW.cpu(), BATCH_FRAMES):
            shown = self._pictures(
                list(batch_B3HW.numpy()), input_data_format="channels_first", return_tensors="pt"
            )
            pixels = shown["pixel_values"].to(self._model.device)
            seen = self._model.vision_model(pixel_values=pixels)
            parts.append(self._model.visual_projection(seen.pooler_output))
        return F.normalize(torch.cat(parts).float().cpu(), dim=1)

    @torch.inference_mode()
    def prompt(self, text: str) -> Tensor:
        """Its embedding of length 1, [E] on the CPU; a text past CLIP's length loses its end."""
        ids = torch.tensor([self._tokenizer.encode(text).ids], device=self._model.device)
        read = self._model.text_model(input_ids=ids)
        return F.normalize(self._model.text_projection(read.pooler_output)[0].float().cpu(), dim=0)


def load_clip(folder: Path, device: torch.device) -> ClipEncoder:
    """The CLIP of a folder as Hugging Face publishes it; nothing is downloaded, no code is run.

    Raises:
        ModelError: a file is missing or damaged, or it is not a CLIP.
    """
    try:
        model = _read_model(folder / "config.json")
        pictures = _read_pictures(folder / "preprocessor_config.json")
        tokenizer = _read_tokenizer(folder / "tokenizer.json")
        _fill_(model, folder, device)
    except ModelError as error:
        raise ModelError(
            f"--clip {error}; expected a folder as that of {PUBLISHED}: config.json, "
            f"preprocessor_config.json, tokenizer.json and {' or '.join(CLIP.usual_names)}"
        ) from error
    seen = model.vision_model.embeddings
    name = f"{folder.name} (patches of {seen.patch_size} px of {seen.image_size})"
    return ClipEncoder(model, tokenizer, pictures, name)


def _read_model(path: Path) -> CLIPModel:
    """Without its weights, and with attention of torch's own: transformers takes other code for it,
    from the Hub too, where a file asks for that."""
    content = _read_json(path)
    if content.get("model_type") != "clip":
        raise ModelError(f"{path}: holds a model of type {content.get('model_type')!r:.40}")
    try:
        config = CLIPConfig.from_dict(content)
        config._attn_implementation = "sdpa"
        return CLIPModel(config)
    except Exception as error:  # transformers' checks and torch's have no class in common
        raise ModelError(f"{path}: damaged ({error!s:.120})") from error


def _read_pictures(path: Path) -> CLIPImageProcessorPil:
    content = _read_json(path)
    try:
        pictures: CLIPImageProcessorPil = CLIPImageProcessorPil.from_dict(content)
    except Exception as error:  # as above
        raise ModelError(f"{path}: damaged ({error!s:.120})") from error
    return pictures


def _fill_(model: nn.Module, folder: Path, device: torch.device) -> None:
    """The weights are in the model, which is on the device and ready for inference: in float32,
    whatever the files say."""
    with CLIP.open(folder) as checkpoint:
        check(model, checkpoint)
        model.float().load_state_dict({name: checkpoint.read(name) for name in checkpoint.entries})
        for name, weight in model.named_parameters():
            if not weight.isfinite().all():
                raise ModelError(f"{checkpoint.path}: {name} holds NaN or infinite numbers")
    model.to(device).eval().requires_grad_(False)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: {type(content).__name__} where a JSON object is expected")
    return content


def _read_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise ModelError(f"{path}: No such file")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers has no class of its own for a damaged file
        raise ModelError(f"{path}: damaged ({error!s:.120})") from error
