"""A show that is replayed is the show: whatever was played, from wherever the recording began."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from sdv2_host.config import Config
from sdv2_host.errors import ModelError
from sdv2_host.gpu.engine import StreamEngine
from sdv2_host.gpu.overlap import Overlap
from sdv2_host.host.show_engine import RecordedEngine
from sdv2_host.host.show_reader import open_show, read_calls
from sdv2_host.host.show_replay import Picture, digests_in, replay
from sdv2_host.params import Params
from sdv2_host.types import Layout, Size
from sdv2_host.wan.tiny_weights import TinyModels
from tests.any_params import PARAMS, any_params
from tests.gpu.histories import Action, Finish, Player, Step, histories
from tests.gpu.lora_engines import lora_engine, write_loras

LIVE = [name for name, spec in PARAMS.items() if not spec.is_output]
LORA = st.sampled_from(["", "ink"])
"""Takes several chunks: recordings begin, and parameters change, while one is merged."""
CLOSE_S = 60.0


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_loras(tmp_path_factory.mktemp("models"))


def record(engine: StreamEngine, history: list[Action], first: int, show: Path) -> int:
    """Plays the history, recorded from the action of that number on; pictures that came then."""
    recorded = RecordedEngine(engine, Config(), Params())
    player = Player(recorded)
    num_out = 0
    for index, action in enumerate([*history, Finish()]):
        before = recorded._part is not None
        styled = player.play(showing(action, show) if index >= first else action)
        num_out += len(styled.frames) if styled is not None and before else 0
    recorded.close(CLOSE_S)
    assert not any(news.has_failed for news in recorded.take_news())
    return num_out


def showing(action: Action, show: Path) -> Action:
    if not isinstance(action, Step):
        return action
    return action._replace(params=action.params.model_copy(update={"show": str(show)}))


def replayed(engine: StreamEngine, show: Path) -> list[Picture]:
    (part,) = open_show(show)
    return list(replay(part, engine, digests_in(read_calls(part))))


@settings(max_examples=8)
@given(
    st.sampled_from(Layout),
    st.sampled_from(["off", "off", "on"]),
    histories(any_params(LIVE, lora=LORA)),
    st.integers(0, 8),
)
def test_the_pictures_of_a_replay_are_those_of_the_show(
    models: TinyModels,
    models_dir: Path,
    layout: Layout,
    overlap: Overlap,
    history: list[Action],
    first: int,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        show = Path(folder) / "a.show"
        num_out = record(lora_engine(models, models_dir, layout, overlap), history, first, show)
        if not show.exists():  # nothing was played after that, or a LoRA was merged all the time
            return
        pictures = replayed(lora_engine(models, models_dir, layout), show)

    compared = [picture for picture in pictures if picture.recorded is not None]
    assert len(compared) >= num_out
    assert [picture.source.number for picture in compared if not picture.is_equal] == []


@pytest.mark.parametrize("overlap", ["off", "on"])
@pytest.mark.parametrize("layout", Layout)
def test_where_a_recording_begins_it_is_told_of_every_picture_what_it_took(
    models: TinyModels, models_dir: Path, tmp_path: Path, layout: Layout, overlap: Overlap
) -> None:
    """By that the worker knows which frames the pictures are of that were on their way."""
    recorded = RecordedEngine(lora_engine(models, models_dir, layout, overlap), Config(), Params())
    player = Player(recorded)
    history: list[Action] = [Step(Params())] * 4
    history += [showing(Step(Params()), tmp_path / "a.show"), Finish()]

    styled = [out for action in history if (out := player.play(action)) is not None]
    recorded.close(CLOSE_S)

    told = [sum(part.num_frames for part in one.parts) for one in styled]
    assert told == [len(one.frames) for one in styled]
    assert sum(part.is_step for one in styled for part in one.parts) == 5
    assert (tmp_path / "a.show").exists()


def test_a_lora_that_was_faded_out_comes_back_at_the_same_chunk(
    models: TinyModels, models_dir: Path, tmp_path: Path
) -> None:
    """It was read before the recording began, so it need not be read again."""
    history: list[Action] = [
        *[Step(Params(lora="ink", lora_strength=1.0))] * 2,
        *[Step(Params(lora="ink", lora_strength=0.0))] * 9,
        *[Step(Params(lora="ink", lora_strength=0.7))] * 9,
    ]
    record(lora_engine(models, models_dir), history, 10, tmp_path / "a.show")

    pictures = replayed(lora_engine(models, models_dir), tmp_path / "a.show")

    assert [picture.call for picture in pictures if not picture.is_equal] == []
    assert len(pictures) == 40


def test_a_picture_that_is_another_one_is_found(models: TinyModels, models_dir: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        show = Path(folder) / "a.show"
        record(lora_engine(models, models_dir), [Step(Params(seed=1))] * 3, 0, show)
        steps = show / "part-001" / "steps.jsonl"
        steps.write_text(steps.read_text().replace('"seed":1', '"seed":2'))

        pictures = replayed(lora_engine(models, models_dir), show)

    assert [picture.is_equal for picture in pictures] == [False] * 9


def test_a_change_makes_others_at_the_same_chunks(models: TinyModels, models_dir: Path) -> None:
    """From a recording that began in the middle too: then the first chunk is a session's."""
    with tempfile.TemporaryDirectory() as folder:
        show = Path(folder) / "a.show"
        history: list[Action] = [Step(Params())] * 3 + [Step(Params(prompt="gold"))] * 3
        record(lora_engine(models, models_dir), history, 2, show)
        (part,) = open_show(show)
        larger = lora_engine(models, models_dir, size=Size(64, 48))

        def change(params: Params) -> Params:
            return params.model_copy(update={"steps": 4})

        pictures = list(replay(part, larger, {}, change))

    assert [picture.pixels.shape for picture in pictures] == [(48, 64, 4)] * 13
    assert [picture.call for picture in pictures] == [1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4]


def kept_file(models: TinyModels, models_dir: Path, path: Path) -> StreamEngine:
    engine = lora_engine(models, models_dir)
    player = Player(engine)
    for _ in range(2):
        player.play(Step(Params(lora="ink"), order=("save", "a")))
    while not engine.memory.can_keep:
        player.play(Step(Params(lora="ink")))
    engine.memory.keep().write(path)
    return engine


def test_an_engine_goes_on_from_what_another_remembered(
    models: TinyModels, models_dir: Path, tmp_path: Path
) -> None:
    """Looks and LoRAs too."""
    engine = kept_file(models, models_dir, tmp_path / "m.safetensors")
    other = lora_engine(models, models_dir)
    other.memory.recall(tmp_path / "m.safetensors")

    styled = []
    for one in (engine, other):
        player = Player(one, is_begun=True)
        player.orders = []
        steps = [Step(Params(lora="ink", seed=3)), Step(Params(), num_latents=2), Finish()]
        styled.append([out.frames for step in steps if (out := player.play(step)) is not None])

    assert other._looks.names == ("a",)
    assert all(np.array_equal(a, b) for a, b in zip(*styled, strict=True))


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("shape", "another engine, size or --max-steps"),
        ("dtype", "this is torch.float32"),
        ("missing", "not what an engine remembered"),
        ("facts", "not what an engine remembered"),
        ("name", "not what an engine remembered"),
        ("bytes", "cannot read"),
    ],
)
def test_memory_that_is_not_an_engines_is_refused(
    models: TinyModels, models_dir: Path, tmp_path: Path, damage: str, what: str
) -> None:
    path = tmp_path / "m.safetensors"
    engine = kept_file(models, models_dir, path)
    tensors, facts = load_file(path), engine.memory.keep().facts
    if damage == "shape":
        tensors["0.0"] = torch.zeros(3)
    elif damage == "dtype":
        tensors["0.0"] = tensors["0.0"].double()
    elif damage == "missing":
        del tensors[max(tensors)]
    elif damage == "facts":
        facts = facts.replace('"chunk_index":', '"chunk_indexx":')
    elif damage == "name":
        facts = facts.replace('[["ink"', '[["../ink"')
    save_file(tensors, str(path), metadata={"sdv2-memory": facts})
    if damage == "bytes":
        path.write_bytes(b"\xff" * 64)

    with pytest.raises(ModelError, match=what):
        lora_engine(models, models_dir).memory.recall(path)


def test_a_link_in_a_shows_folder_is_not_followed(
    models: TinyModels, models_dir: Path, tmp_path: Path
) -> None:
    kept_file(models, models_dir, tmp_path / "elsewhere")
    (tmp_path / "m.safetensors").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ModelError, match="is a link"):
        lora_engine(models, models_dir).memory.recall(tmp_path / "m.safetensors")
