"""A ready scene in OBS: made where it is missing, left alone where it is there.

Every step looks first, so a second run changes nothing; each says what it found or did in one line.
What the user has moved, hidden or renamed stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sdv2_host.errors import ConfigError
from sdv2_host.obs.client import (
    INVALID_FILTER_KIND,
    INVALID_KIND,
    NOT_FOUND,
    Fields,
    ObsClient,
    ObsRefusedError,
)
from sdv2_host.types import Size

SCENE = "StreamDiffusion"
SOURCE_KIND = "sdv2_source"
FILTER_KIND = "sdv2_filter"
MEDIA_KIND = "ffmpeg_source"
DECLARED_FPS = 120
"""Above what the feed ever sends: a player that is told less queues, and shows later and later."""
TOP_LEFT = 5

Say = Callable[[str], None]


class Wish(NamedTuple):
    """What to set up."""

    host: str
    """Name of the sdv2 host."""
    scene: str = SCENE
    filter_on: str = ""
    """The input or scene whose picture goes to the host; '' = none."""
    feed_port: int = 0
    """Of the host's raw feed; 0 = it has none."""
    picture: Size | None = None
    """What the feed shall be read at; None = not known."""
    has_plugin: bool = True
    """False: OBS' Media Source, whatever is installed."""
    fit: bool = False
    """Fit the source to the canvas even where it is there already."""


def source_name(host: str) -> str:
    return f"StreamDiffusion {host}"


def media_name(host: str) -> str:
    return f"StreamDiffusion {host} (no plugin)"


def media_settings(port: int, size: Size) -> Fields:
    """Of a Media Source that shows the raw feed: exact, some 28 ms, and back by itself."""
    return {
        "is_local_file": False,
        "input": f"http://127.0.0.1:{port}/{size}",
        "input_format": "rawvideo",
        "ffmpeg_options": f"video_size={size} pixel_format=bgra framerate={DECLARED_FPS} "
        "probesize=32 analyzeduration=0",
        "buffering_mb": 0,
        "reconnect_delay_sec": 1,
        "hw_decode": False,
        "clear_on_media_end": False,
        "close_when_inactive": False,
        "restart_on_activate": False,
    }


def set_up(client: ObsClient, wish: Wish, say: Say) -> None:
    """OBS has the scene, the source in it and, if wished, the filter.

    Raises:
        ObsError: OBS refuses, or goes away.
        ConfigError: something is missing that only the user can give.
    """
    say(f"OBS {client.version}, WebSocket {client.websocket_version}")
    canvas = canvas_of(client)
    _ensure_scene(client, wish.scene, say)
    source = _ensure_source(client, wish, say)
    _ensure_fitted(client, wish, source, canvas, say)
    if wish.filter_on:
        _ensure_filter(client, wish, say)


def canvas_of(client: ObsClient) -> Size:
    video = client.request("GetVideoSettings")
    return Size(int(video["baseWidth"]), int(video["baseHeight"]))


def has_plugin(client: ObsClient) -> bool:
    return SOURCE_KIND in client.request("GetInputKindList")["inputKinds"]


def _ensure_scene(client: ObsClient, scene: str, say: Say) -> None:
    names = [one["sceneName"] for one in client.request("GetSceneList")["scenes"]]
    if scene in names:
        say(f"scene {scene!r} is there")
        return
    client.request("CreateScene", sceneName=scene)
    say(f"made scene {scene!r}")


def _ensure_source(client: ObsClient, wish: Wish, say: Say) -> str:
    """The name of the source that shows the host's picture, in the scene by now."""
    if wish.has_plugin:
        try:
            name = source_name(wish.host)
            _ensure_input(client, wish.scene, name, SOURCE_KIND, {"host": wish.host}, say)
            return name
        except ObsRefusedError as error:
            if error.code != INVALID_KIND:
                raise
            say("OBS has no plug-in sdv2: sdv2-host obs install; its Media Source it is, then")
    if not wish.feed_port:
        raise ConfigError(
            f"without the plug-in OBS reads pictures from a port of the host, and {wish.host} has "
            "none: start it with sdv2-host run --obs-port 9410"
        )
    if wish.picture is None:
        raise ConfigError(
            f"the size of {wish.host}'s picture is not known yet: wait until it is ready, or give "
            "--size"
        )
    name = media_name(wish.host)
    settings = media_settings(wish.feed_port, wish.picture)
    _ensure_input(client, wish.scene, name, MEDIA_KIND, settings, say)
    return name


def _ensure_input(
    client: ObsClient, scene: str, name: str, kind: str, settings: Fields, say: Say
) -> None:
    """The input has these settings and is in the scene."""
    inputs = {one["inputName"]: one for one in client.request("GetInputList")["inputs"]}
    if name not in inputs:
        client.request(
            "CreateInput",
            sceneName=scene,
            inputName=name,
            inputKind=kind,
            inputSettings=settings,
            sceneItemEnabled=True,
        )
        say(f"made source {name!r} in it")
        return
    found = inputs[name]["unversionedInputKind"]
    if found != kind:
        raise ConfigError(
            f"OBS has a source {name!r} of another kind ({found}): rename that one in OBS"
        )
    present = client.request("GetInputSettings", inputName=name)["inputSettings"]
    different = {key: value for key, value in settings.items() if present.get(key) != value}
    # A Media Source does not keep what is as it would be anyway.
    defaults = client.request("GetInputDefaultSettings", inputKind=kind)["defaultInputSettings"]
    different = {
        key: value
        for key, value in different.items()
        if key in present or defaults.get(key) != value
    }
    if different:
        client.request("SetInputSettings", inputName=name, inputSettings=different, overlay=True)
        say(f"source {name!r}: changed {', '.join(different)}")
    else:
        say(f"source {name!r} is there")
    if _item_of(client, scene, name) is None:
        client.request("CreateSceneItem", sceneName=scene, sourceName=name, sceneItemEnabled=True)
        say(f"put it into scene {scene!r}")


def _item_of(client: ObsClient, scene: str, source: str) -> int | None:
    try:
        answer = client.request("GetSceneItemId", sceneName=scene, sourceName=source)
    except ObsRefusedError as error:
        if error.code != NOT_FOUND:
            raise
        return None
    return int(answer["sceneItemId"])


def _ensure_fitted(client: ObsClient, wish: Wish, source: str, canvas: Size, say: Say) -> None:
    """As large as the canvas allows, its aspect kept. Where the user has placed it, it stays."""
    item = _item_of(client, wish.scene, source)
    assert item is not None, "made before"
    where = {"sceneName": wish.scene, "sceneItemId": item}
    present = client.request("GetSceneItemTransform", **where)["sceneItemTransform"]
    wanted = {
        "positionX": 0.0,
        "positionY": 0.0,
        "alignment": TOP_LEFT,
        "boundsType": "OBS_BOUNDS_SCALE_INNER",
        "boundsAlignment": 0,
        "boundsWidth": float(canvas.width),
        "boundsHeight": float(canvas.height),
    }
    if all(present.get(key) == value for key, value in wanted.items()):
        say(f"it is fitted to the canvas, {canvas}")
        return
    is_untouched = present.get("boundsType") == "OBS_BOUNDS_NONE" and _is_at_rest(present)
    if not is_untouched and not wish.fit:
        say("it is placed as you placed it; --fit fits it to the canvas")
        return
    client.request("SetSceneItemTransform", **where, sceneItemTransform=wanted)
    say(f"fitted it to the canvas, {canvas}")


def _is_at_rest(transform: Fields) -> bool:
    """As OBS makes a scene item."""
    rest = {"positionX": 0.0, "positionY": 0.0, "scaleX": 1.0, "scaleY": 1.0, "rotation": 0.0}
    return all(transform.get(key) == value for key, value in rest.items())


def _ensure_filter(client: ObsClient, wish: Wish, say: Say) -> None:
    """The picture of the input or scene goes to the host."""
    name, target = source_name(wish.host), wish.filter_on
    try:
        filters = client.request("GetSourceFilterList", sourceName=target)["filters"]
    except ObsRefusedError as error:
        if error.code != NOT_FOUND:
            raise
        inputs = [one["inputName"] for one in client.request("GetInputList")["inputs"]]
        scenes = [one["sceneName"] for one in client.request("GetSceneList")["scenes"]]
        known = ", ".join(repr(one) for one in (*inputs, *scenes))
        raise ConfigError(f"--filter-on {target!r}: OBS has no such source, it has {known}") from (
            error
        )
    settings = {"host": wish.host}
    for one in filters:
        if one["filterKind"] == FILTER_KIND and one["filterSettings"].get("host") == wish.host:
            state = "is there" if one["filterEnabled"] else "is there, switched off in OBS"
            say(f"filter {one['filterName']!r} on {target!r} {state}")
            return
    try:
        client.request(
            "CreateSourceFilter",
            sourceName=target,
            filterName=name,
            filterKind=FILTER_KIND,
            filterSettings=settings,
        )
    except ObsRefusedError as error:
        if error.code not in (INVALID_KIND, INVALID_FILTER_KIND):
            raise
        raise ConfigError(
            f"the picture of {target!r} reaches {wish.host} by the plug-in sdv2 alone, which OBS "
            "does not have: sdv2-host obs install"
        ) from error
    say(f"made filter {name!r} on {target!r}: its picture goes to host {wish.host}")
