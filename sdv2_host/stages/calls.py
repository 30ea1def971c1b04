"""A call of the model on its way through the places, and the leaves it is sent as.

# B rows  F latent frames  C channels  H W latent size  S tokens of F frames  E dim
# N tokens of one frame  I denoising steps
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sdv2_host.stages.leaf_header import Header, PacketError
from sdv2_host.stages.packet import SCALARS, Leaf
from sdv2_host.stages.route import MAX_STEPS
from sdv2_host.stream.stream_batch import ChunkInFlight
from sdv2_host.wan.model import TextByBlock, TextKV

_SIGMAS = MAX_STEPS
_NOTES = 2 * MAX_STEPS
_NUM_NOTES = 2


@dataclass(slots=True)
class RoutedChunk(ChunkInFlight):
    """A chunk that passes several places."""

    order: int = 0
    """Number in the epoch of all that came to the model, chunks seen anew included."""
    text_id: int = 0
    fills_to: int = 0
    """In a ring, on the first chunk after a change to more steps: its row at the last step of
    those before, as it is when the chunk comes there, is copied to the rows up to this one.
    0 = no change."""
    fills_from: int = 0
    """That step."""
    notes_2: Tensor | None = None
    """Float32 on the device: noise scale and motion, for people."""


@dataclass(slots=True)
class Call:
    """One forward of the model: rows at neighbouring steps with equally many frames."""

    number: int
    chunks: list[RoutedChunk]
    block: int = 0
    """The next to run."""
    x_BSE: Tensor | None = None
    """Tokens before that block; None before the first, where they are made of the latents."""


def leaves_of(call: Call, epoch: int) -> Iterator[Leaf]:
    """Row by row, frame by frame."""
    for row, chunk in enumerate(call.chunks):
        num_frames = chunk.num_latents
        scalars = _scalars(chunk)
        for frame in range(num_frames):
            tokens_SE = None
            if call.x_BSE is not None:
                tokens_SE = call.x_BSE[row].chunk(num_frames)[frame]
            header = _header(call, row, frame, epoch)
            yield Leaf(header, scalars, chunk.x_BFCHW[0, frame], tokens_SE)


def _header(call: Call, row: int, frame: int, epoch: int) -> Header:
    chunk = call.chunks[row]
    return Header(
        epoch=epoch,
        call=call.number,
        num_rows=len(call.chunks),
        row=row,
        num_frames=chunk.num_latents,
        frame=frame,
        block=call.block,
        index=chunk.index,
        order=chunk.order,
        seed=chunk.seed,
        text_id=chunk.text_id,
        num_steps=chunk.num_steps,
        step=chunk.step,
        first_frame=chunk.first_frame,
        num_cut=chunk.num_cut,
        noise_hold=chunk.noise_hold,
        sink_threshold=chunk.sink_threshold,
        fills_from=chunk.fills_from,
        fills_to=chunk.fills_to,
        refresh_sinks=chunk.refresh_sinks,
        begins_anew=chunk.begins_anew,
        is_shown=chunk.is_shown,
        has_tokens=call.x_BSE is not None,
    )


def _scalars(chunk: RoutedChunk) -> Tensor:
    """[SCALARS]: timesteps, sigmas, notes."""
    scalars = torch.zeros(SCALARS, device=chunk.x_BFCHW.device)
    scalars[: chunk.num_steps] = chunk.timesteps_I
    scalars[_SIGMAS : _SIGMAS + chunk.num_steps] = chunk.sigmas_I
    if chunk.notes_2 is not None:
        scalars[_NOTES : _NOTES + _NUM_NOTES] = chunk.notes_2
    return scalars


class NoText:
    """Of a chunk that is done: its prompt may be forgotten before it is back at the entry."""

    def __getitem__(self, index: int, /) -> TextKV:
        raise AssertionError("a chunk that is done meets no block")


NO_TEXT = NoText()


class Assembler:
    """Calls out of the leaves of one link."""

    def __init__(self, text_of: Callable[[int], TextByBlock]) -> None:
        self._text_of = text_of
        self._leaves: list[Leaf] = []

    def take(self, leaf: Leaf) -> Call | None:
        """The call that this leaf completes, if it does.

        Raises:
            PacketError: it is not the one that must follow those before it.
        """
        header, number = leaf.header, len(self._leaves)
        first = self._leaves[0].header if self._leaves else header
        place = (number // first.num_frames, number % first.num_frames)
        shape = (header.call, header.num_rows, header.num_frames, header.block, header.has_tokens)
        wanted = (first.call, first.num_rows, first.num_frames, first.block, first.has_tokens)
        if (header.row, header.frame) != place or shape != wanted:
            raise PacketError(
                f"row {header.row}, frame {header.frame} of call {header.call} came where row "
                f"{place[0]}, frame {place[1]} of call {first.call} was due"
            )
        self._leaves.append(leaf)
        if len(self._leaves) < header.num_rows * header.num_frames:
            return None
        leaves, self._leaves = self._leaves, []
        return self._call(leaves)

    def _call(self, leaves: list[Leaf]) -> Call:
        header = leaves[0].header
        rows = [
            leaves[begin : begin + header.num_frames]
            for begin in range(0, len(leaves), header.num_frames)
        ]
        x_BSE = None
        if header.has_tokens:
            tokens = [torch.cat([_tokens(leaf) for leaf in row]) for row in rows]
            x_BSE = torch.stack(tokens)
        chunks = [self._chunk(row) for row in rows]
        return Call(header.call, chunks, header.block, x_BSE)

    def _chunk(self, leaves: list[Leaf]) -> RoutedChunk:
        header, scalars, *_ = leaves[0]
        return RoutedChunk(
            index=header.index,
            seed=header.seed,
            text=NO_TEXT if header.is_done else self._text_of(header.text_id),
            timesteps_I=scalars[: header.num_steps],
            sigmas_I=scalars[_SIGMAS : _SIGMAS + header.num_steps],
            x_BFCHW=torch.stack([leaf.x_CHW for leaf in leaves])[None],
            refresh_sinks=header.refresh_sinks,
            num_steps=header.num_steps,
            first_frame=header.first_frame,
            step=header.step,
            begins_anew=header.begins_anew,
            num_cut=header.num_cut,
            noise_hold=header.noise_hold,
            sink_threshold=header.sink_threshold,
            is_shown=header.is_shown,
            order=header.order,
            text_id=header.text_id,
            fills_from=header.fills_from,
            fills_to=header.fills_to,
            notes_2=scalars[_NOTES : _NOTES + _NUM_NOTES],
        )


def _tokens(leaf: Leaf) -> Tensor:
    assert leaf.tokens_SE is not None, "has_tokens says so"
    return leaf.tokens_SE
