"""What a running OBS has of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sdv2_host.obs.client import Fields, ObsClient
from sdv2_host.obs.scene import FILTER_KIND, MEDIA_KIND, SOURCE_KIND, has_plugin

_FEED = re.compile(r"http://127\.0\.0\.1:\d{1,5}/\d{1,5}x\d{1,5}")
_MEDIA_NAME = re.compile(r"StreamDiffusion ([a-z0-9_-]{1,44}) \(no plugin\)")


@dataclass(frozen=True, slots=True)
class Item:
    """A source or filter that shows, or feeds, a host."""

    kind: str
    """'source', 'media source' or 'filter'."""
    name: str
    host: str
    where: str
    """Of a filter: what it is on. Of a media source: its address."""
    is_on: bool = True


@dataclass(frozen=True, slots=True)
class Inventory:
    """One look."""

    version: str
    websocket_version: str
    scene: str
    has_plugin: bool
    items: tuple[Item, ...]

    def host_names(self) -> set[str]:
        return {item.host for item in self.items}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """For a person."""
        yield f"OBS {self.version}, WebSocket {self.websocket_version}, on air: {self.scene!r}"
        missing = "not loaded; sdv2-host obs install, then start OBS anew"
        yield f"plug-in sdv2: {'loaded' if self.has_plugin else missing}"
        for item in self.items:
            off = "" if item.is_on else ", switched off"
            if item.kind == "filter":
                yield f"filter {item.name!r} on {item.where!r} to host {item.host}{off}"
            else:
                at = f" at {item.where}" if item.where else ""
                yield f"{item.kind} {item.name!r} shows host {item.host}{at}"
        if not self.items:
            yield "no source and no filter of ours; sdv2-host obs setup makes them"


def take_inventory(client: ObsClient) -> Inventory:
    """Raises: ObsError."""
    inputs = client.request("GetInputList")["inputs"]
    scenes = [one["sceneName"] for one in client.request("GetSceneList")["scenes"]]
    items = [item for one in inputs for item in _of_input(client, one)]
    for name in (*(one["inputName"] for one in inputs), *scenes):
        items += _filters_of(client, name)
    current = client.request("GetCurrentProgramScene")["currentProgramSceneName"]
    return Inventory(
        client.version, client.websocket_version, current, has_plugin(client), tuple(items)
    )


def _of_input(client: ObsClient, one: Fields) -> Iterator[Item]:
    kind, name = one["unversionedInputKind"], str(one["inputName"])
    if kind not in (SOURCE_KIND, MEDIA_KIND):
        return
    settings = client.request("GetInputSettings", inputName=name)["inputSettings"]
    if kind == SOURCE_KIND:
        yield Item("source", name, str(settings.get("host", "")), "")
        return
    named = _MEDIA_NAME.fullmatch(name)
    address = str(settings.get("input", ""))
    if named is not None and _FEED.fullmatch(address):
        yield Item("media source", name, named[1], address)


def _filters_of(client: ObsClient, name: str) -> Iterator[Item]:
    for one in client.request("GetSourceFilterList", sourceName=name)["filters"]:
        if one["filterKind"] == FILTER_KIND:
            host = str(one["filterSettings"].get("host", ""))
            yield Item("filter", str(one["filterName"]), host, name, bool(one["filterEnabled"]))
