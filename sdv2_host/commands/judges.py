"""`--clip FOLDER --raft FILE`: the networks of the paper's metrics, from a user's own files."""

from __future__ import annotations

from pathlib import Path

from sdv2_host.bench.clip_score import load_clip
from sdv2_host.bench.paper_score import Judges
from sdv2_host.bench.raft import load_raft
from sdv2_host.commands.narrator import Narrator
from sdv2_host.gpu.device import resolve_device


def load_judges(clip: Path | None, raft: Path | None, device: str) -> Judges:
    """The networks whose weights are named, and said to be there.

    Raises:
        ModelError: the weights are missing, damaged or of another model.
        DeviceError: the device is not there.
    """
    place = resolve_device(device)
    narrator = Narrator()
    encoder = flow = None
    clip_name = flow_name = ""
    if clip is not None:
        encoder = load_clip(clip, place)
        clip_name = encoder.name
        narrator.say(f"CLIP: {clip_name}, on {place}")
    if raft is not None:
        flow = load_raft(raft, place)
        flow_name = f"RAFT-large of {raft.name}"
        narrator.say(f"flow: {flow_name}, on {place}")
    return Judges(encoder, flow, place, clip_name, flow_name)
