"""What one leaf takes from place to place: over gloo, between two transports of this process."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from queue import SimpleQueue

import torch

from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.errors import WorkerError
from sdv2_host.stages.channel_store import ChannelStore
from sdv2_host.stages.gloo_transport import GlooTransport, LinkShapes, Seat
from sdv2_host.stages.leaf_header import Header
from sdv2_host.stages.packet import SCALARS, Leaf, LeafShape, Token
from sdv2_host.stages.work import Route
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.wan.dims import LATENT_STRIDE_PX, WanDims

NUM_HOPS = 40
NUM_FIRST = 5
"""Not counted: places meet, memory is touched for the first time."""


def leaf_shape(dims: WanDims, spec: StreamSpec) -> LeafShape:
    """Of a link from place to place."""
    height, width = (side // LATENT_STRIDE_PX for side in (spec.height_px, spec.width_px))
    tokens = dims.tokens_per_frame(spec.height_px, spec.width_px)
    return LeafShape((dims.in_dim, height, width), (tokens, dims.dim), spec.dtype)


def measure_hop_ms(devices: Sequence[torch.device], shape: LeafShape) -> float:
    """Median from `send` at the first device to the leaf on the second, one at a time.

    Raises:
        WorkerError: the link failed.
    """
    stores: list[ChannelStore] = []

    def publish(key: str, value: bytes) -> None:
        for store in stores:
            store.learn(key, value)

    stores += [ChannelStore(publish) for _ in devices]
    arrived: SimpleQueue[Leaf | Token | str] = SimpleQueue()
    transports = [
        GlooTransport(
            Seat(0, place, len(devices), Route.CHAIN, device=device),
            LinkShapes(shape, None),
            store,
            on_packet=arrived.put,
            on_failure=arrived.put,
        )
        for place, (device, store) in enumerate(zip(devices, stores, strict=True))
    ]
    try:
        times_ms = [
            _hop_ms(transports[0], arrived, _leaf(shape, devices[0], call))
            for call in range(NUM_FIRST + NUM_HOPS)
        ]
    finally:
        for store, transport in zip(stores, transports, strict=True):
            store.cancel()
            transport.close()
    return statistics.median(times_ms[NUM_FIRST:])


def _hop_ms(sender: GlooTransport, arrived: SimpleQueue[Leaf | Token | str], leaf: Leaf) -> float:
    begin_ns = now_ns()
    sender.send(leaf)
    got = arrived.get()
    if isinstance(got, str):
        raise WorkerError(f"the link that was to be measured failed: {got}")
    if isinstance(got, Leaf):
        got.x_CHW.flatten()[0].item()  # it is there
    return (now_ns() - begin_ns) / NS_PER_MS


def _leaf(shape: LeafShape, device: torch.device, call: int) -> Leaf:
    assert shape.tokens_shape is not None, "a link from place to place"
    header = Header(
        epoch=0,
        call=call,
        num_rows=1,
        row=0,
        num_frames=1,
        frame=0,
        block=1,
        index=call,
        order=call,
        seed=0,
        text_id=0,
        num_steps=1,
        step=0,
        first_frame=call,
        num_cut=0,
        noise_hold=0.0,
        sink_threshold=0.0,
        fills_from=0,
        fills_to=0,
        refresh_sinks=False,
        begins_anew=False,
        is_shown=True,
        has_tokens=True,
    )
    return Leaf(
        header,
        torch.zeros(SCALARS, device=device),
        torch.zeros(shape.latent_shape, dtype=shape.dtype, device=device),
        torch.zeros(shape.tokens_shape, dtype=shape.dtype, device=device),
    )
