"""A small OBS: its WebSocket server, protocol 5, with scenes, inputs and filters in memory.

What is told of it was seen in OBS 29.0.2 with obs-websocket 5.1.0: status codes and comments, the
close code of a wrong password, what a scene item's transform is at first.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

Fields = dict[str, Any]
AUTHENTICATION_FAILED = 4009
OK = 100
NOT_READY = 207
UNKNOWN_REQUEST = 204
NOT_FOUND = 600
ALREADY_EXISTS = 601
INVALID_INPUT_KIND = 605
INVALID_FILTER_KIND = 606
SALT, CHALLENGE = "c2FsdA==", "Y2hhbGxlbmdl"
AT_REST: Fields = {
    "alignment": 5,
    "boundsAlignment": 0,
    "boundsHeight": 0.0,
    "boundsType": "OBS_BOUNDS_NONE",
    "boundsWidth": 0.0,
    "positionX": 0.0,
    "positionY": 0.0,
    "rotation": 0.0,
    "scaleX": 1.0,
    "scaleY": 1.0,
}


class Refused(Exception):  # noqa: N818  (a request's status, not an error of ours)
    def __init__(self, code: int, comment: str = "") -> None:
        self.code, self.comment = code, comment


def answer_to(password: str) -> str:
    """What a client that knows the password says to our challenge."""
    secret = base64.b64encode(hashlib.sha256((password + SALT).encode()).digest())
    proof = hashlib.sha256(secret + CHALLENGE.encode()).digest()
    return base64.b64encode(proof).decode()


@dataclass
class Studio:
    """What the OBS holds."""

    input_kinds: list[str] = field(default_factory=lambda: ["ffmpeg_source", "color_source_v3"])
    filter_kinds: list[str] = field(default_factory=lambda: ["color_filter_v2"])
    scenes: dict[str, dict[str, Fields]] = field(default_factory=lambda: {"Main": {}})
    """Scene -> source -> transform; the item's number is its place."""
    program: str = "Main"
    inputs: dict[str, tuple[str, Fields]] = field(default_factory=dict)
    filters: dict[str, dict[str, Fields]] = field(default_factory=dict)
    canvas: tuple[int, int] = (1280, 720)
    not_ready: int = 0
    """This many requests are refused as too early."""

    def add_plugin(self) -> None:
        self.input_kinds.append("sdv2_source")
        self.filter_kinds.append("sdv2_filter")

    def do(self, name: str, data: Fields) -> Fields:
        """Raises: Refused."""
        if self.not_ready:
            self.not_ready -= 1
            raise Refused(NOT_READY, "OBS is not ready to perform the request.")
        method: Callable[[Fields], Fields] | None = getattr(self, f"_{name}", None)
        if method is None:
            raise Refused(UNKNOWN_REQUEST, "Your request type is not valid.")
        return method(data)

    def _GetVersion(self, data: Fields) -> Fields:  # noqa: N802
        return {"obsVersion": "29.0.2", "obsWebSocketVersion": "5.1.0", "rpcVersion": 1}

    def _GetVideoSettings(self, data: Fields) -> Fields:  # noqa: N802
        return {"baseWidth": self.canvas[0], "baseHeight": self.canvas[1]}

    def _GetInputKindList(self, data: Fields) -> Fields:  # noqa: N802
        return {"inputKinds": self.input_kinds}

    def _GetSceneList(self, data: Fields) -> Fields:  # noqa: N802
        return {"scenes": [{"sceneName": name} for name in self.scenes]}

    def _GetCurrentProgramScene(self, data: Fields) -> Fields:  # noqa: N802
        return {"currentProgramSceneName": self.program}

    def _CreateScene(self, data: Fields) -> Fields:  # noqa: N802
        self._check_free(data["sceneName"])
        self.scenes[data["sceneName"]] = {}
        return {}

    def _GetInputList(self, data: Fields) -> Fields:  # noqa: N802
        found = [
            {"inputName": name, "inputKind": kind, "unversionedInputKind": kind.split("_v")[0]}
            for name, (kind, _) in self.inputs.items()
        ]
        return {"inputs": found}

    def _CreateInput(self, data: Fields) -> Fields:  # noqa: N802
        self._check_free(data["inputName"])
        if data["inputKind"] not in self.input_kinds:
            raise Refused(
                INVALID_INPUT_KIND,
                "Your specified input kind is not supported by OBS. Check that your specified "
                "kind is properly versioned and that any necessary plugins are loaded.",
            )
        scene = self._scene(data["sceneName"])
        self.inputs[data["inputName"]] = (data["inputKind"], dict(data["inputSettings"]))
        scene[data["inputName"]] = dict(AT_REST)
        return {"sceneItemId": len(scene)}

    def _GetInputSettings(self, data: Fields) -> Fields:  # noqa: N802
        return {"inputSettings": self._input(data["inputName"])[1]}

    def _SetInputSettings(self, data: Fields) -> Fields:  # noqa: N802
        settings = self._input(data["inputName"])[1]
        settings.update(data["inputSettings"])
        return {}

    def _GetInputDefaultSettings(self, data: Fields) -> Fields:  # noqa: N802
        return {"defaultInputSettings": {}}

    def _GetSceneItemId(self, data: Fields) -> Fields:  # noqa: N802
        scene = self._scene(data["sceneName"])
        if data["sourceName"] not in scene:
            raise Refused(NOT_FOUND, "No scene items were found in the specified scene.")
        return {"sceneItemId": list(scene).index(data["sourceName"]) + 1}

    def _CreateSceneItem(self, data: Fields) -> Fields:  # noqa: N802
        scene = self._scene(data["sceneName"])
        scene[data["sourceName"]] = dict(AT_REST)
        return {"sceneItemId": len(scene)}

    def _GetSceneItemTransform(self, data: Fields) -> Fields:  # noqa: N802
        return {"sceneItemTransform": self._item(data)}

    def _SetSceneItemTransform(self, data: Fields) -> Fields:  # noqa: N802
        self._item(data).update(data["sceneItemTransform"])
        return {}

    def _GetSourceFilterList(self, data: Fields) -> Fields:  # noqa: N802
        name = data["sourceName"]
        if name not in self.inputs and name not in self.scenes:
            raise Refused(NOT_FOUND, f"No source was found by the name of `{name}`.")
        return {"filters": list(self.filters.get(name, {}).values())}

    def _CreateSourceFilter(self, data: Fields) -> Fields:  # noqa: N802
        if data["filterKind"] not in self.filter_kinds:
            raise Refused(INVALID_FILTER_KIND, "Your specified filter kind is not supported.")
        made = {"filterName": data["filterName"], "filterKind": data["filterKind"]}
        made |= {"filterSettings": data["filterSettings"], "filterEnabled": True}
        self.filters.setdefault(data["sourceName"], {})[data["filterName"]] = made
        return {}

    def _check_free(self, name: str) -> None:
        if name in self.scenes or name in self.inputs:
            raise Refused(ALREADY_EXISTS, f"A source already exists by that name: {name}.")

    def _scene(self, name: str) -> dict[str, Fields]:
        if name not in self.scenes:
            raise Refused(NOT_FOUND, f"No source was found by the name of `{name}`.")
        return self.scenes[name]

    def _input(self, name: str) -> tuple[str, Fields]:
        if name not in self.inputs:
            raise Refused(NOT_FOUND, f"No source was found by the name of `{name}`.")
        return self.inputs[name]

    def _item(self, data: Fields) -> Fields:
        return list(self._scene(data["sceneName"]).values())[data["sceneItemId"] - 1]


class FakeObs:
    """Serves in a thread from `start` to `stop`; may be started again on the same port."""

    def __init__(self, studio: Studio | None = None, password: str = "") -> None:
        self.studio = studio or Studio()
        self.password = password
        self.port = 0
        self.requests: list[str] = []
        self.hello = ""
        """Said in place of the right one."""
        self.answer = ""
        """Answered in place of the right one, REQUEST_ID replaced."""
        self.mute = False
        """Takes requests and answers none."""
        self._ending = threading.Lock()
        self._sockets: set[web.WebSocketResponse] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None

    def __enter__(self) -> FakeObs:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(listening)))
        self._thread.start()
        assert listening.wait(5), "the fake OBS did not start"

    def stop(self) -> None:
        """All connections break. From any thread."""
        with self._ending:
            if self._thread is None:
                return
            assert self._loop is not None
            assert self._stopping is not None
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None

    def switch(self, scene: str) -> None:
        """Another scene is on air, and every client is told."""
        self.studio.program = scene
        self.send({"eventType": "CurrentProgramSceneChanged", "eventData": {"sceneName": scene}})

    def send(self, event: Fields) -> None:
        self.send_raw(json.dumps({"op": 5, "d": {"eventIntent": 4, **event}}))

    def send_raw(self, text: str) -> None:
        assert self._loop is not None
        for one in list(self._sockets):
            asyncio.run_coroutine_threadsafe(one.send_str(text), self._loop).result(5)

    async def _serve(self, listening: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/", self._talk)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        listening.set()
        await self._stopping.wait()
        for one in list(self._sockets):
            await one.close()
        await runner.cleanup()

    async def _talk(self, request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        hello: Fields = {"obsWebSocketVersion": "5.1.0", "rpcVersion": 1}
        if self.password:
            hello["authentication"] = {"challenge": CHALLENGE, "salt": SALT}
        if self.hello:
            await response.send_str(self.hello)
            await response.close()
            return response
        await response.send_json({"op": 0, "d": hello})
        identify = json.loads((await response.receive()).data)
        if self.password and identify["d"]["authentication"] != answer_to(self.password):
            await response.close(code=AUTHENTICATION_FAILED, message=b"Authentication failed.")
            return response
        await response.send_json({"op": 2, "d": {"negotiatedRpcVersion": 1}})
        self._sockets.add(response)
        try:
            async for message in response:
                if message.type == WSMsgType.TEXT:
                    await self._answer(response, json.loads(message.data)["d"])
        finally:
            self._sockets.discard(response)
        return response

    async def _answer(self, response: web.WebSocketResponse, asked: Fields) -> None:
        self.requests.append(asked["requestType"])
        if self.mute:
            return
        if self.answer:
            await response.send_str(self.answer.replace("REQUEST_ID", asked["requestId"]))
            return
        status: Fields = {"result": True, "code": OK}
        data: Fields = {}
        try:
            data = self.studio.do(asked["requestType"], asked["requestData"])
        except Refused as refused:
            status = {"result": False, "code": refused.code, "comment": refused.comment}
        answer = {"requestId": asked["requestId"], "requestType": asked["requestType"]}
        answer |= {"requestStatus": status, "responseData": data}
        await response.send_json({"op": 7, "d": answer})
