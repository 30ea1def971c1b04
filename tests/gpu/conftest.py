"""Random weights behind the real engine."""

from __future__ import annotations

import pytest
import torch

from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.tiny_weights import TinyModels
from tests.toys import TOY_DIT, TOY_TEXT, TOY_VAE


@pytest.fixture(scope="session")
def models() -> TinyModels:
    torch.manual_seed(3)
    made = TinyModels(CausalWanModel(TOY_DIT), TinyVAE(TOY_VAE), TinyTextEncoder(TOY_TEXT), {})
    for module in (made.dit, made.vae, made.text):
        module.eval().requires_grad_(False)
    return made


@pytest.fixture(autouse=True, scope="module")
def with_one_thread(one_thread: None) -> None: ...
