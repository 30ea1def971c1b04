"""A scene of a running OBS, and what tests do with it."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from tests.obs.obs_process import RunningObs


class Stage:
    """A scene on air. What it is asked to add is named after it."""

    def __init__(self, obs: RunningObs, scene: str) -> None:
        self.obs = obs
        self.scene = scene
        self._inputs: list[str] = []
        obs.call("CreateScene", sceneName=scene)
        self.go_on_air()

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave_air()
        for name in self._inputs:
            self.obs.call("RemoveInput", inputName=name)
        self.obs.call("RemoveScene", sceneName=self.scene)

    def go_on_air(self) -> None:
        self.obs.call("SetCurrentProgramScene", sceneName=self.scene)

    def leave_air(self) -> None:
        self.obs.call("SetCurrentProgramScene", sceneName="Main")

    def add(self, kind: str, label: str = "", **settings: object) -> str:
        """A new source on top; returns its name."""
        name = f"{self.scene} {label or kind}"
        self.obs.call(
            "CreateInput",
            sceneName=self.scene, inputName=name, inputKind=kind, inputSettings=settings,
        )  # fmt: skip
        self._inputs.append(name)
        return name

    def add_source(self, host: str, label: str = "source", **settings: object) -> str:
        return self.add("sdv2_source", label, host=host, **settings)

    def add_filter(self, source: str, host: str, **settings: object) -> None:
        self.obs.call(
            "CreateSourceFilter",
            sourceName=source, filterName="to host", filterKind="sdv2_filter",
            filterSettings={"host": host, **settings},
        )  # fmt: skip

    def set_filter(self, source: str, **settings: object) -> None:
        self.obs.call(
            "SetSourceFilterSettings",
            sourceName=source, filterName="to host", filterSettings=settings,
        )  # fmt: skip

    def set(self, name: str, **settings: object) -> None:
        self.obs.call("SetInputSettings", inputName=name, inputSettings=settings)

    def item(self, name: str) -> int:
        answer = self.obs.call("GetSceneItemId", sceneName=self.scene, sourceName=name)
        return int(answer["sceneItemId"])

    def show_item(self, name: str, shown: bool) -> None:
        self.obs.call(
            "SetSceneItemEnabled",
            sceneName=self.scene, sceneItemId=self.item(name), sceneItemEnabled=shown,
        )  # fmt: skip

    def picture(
        self, name: str, wanted: NDArray[np.generic], *, near: int = 1, within_s: float = 3.0
    ) -> int:
        """Largest difference of a source's picture to the one wanted, once it has come.

        It has come when no level is further off than `near`; else we wait that long. 255 where it
        has another size then.
        """
        deadline = time.monotonic() + within_s
        while True:
            shown = self.obs.screenshot(name)
            worst = 255
            if shown.shape[:2] == wanted.shape[:2]:
                worst = int(np.abs(shown.astype(int) - wanted.astype(int)).max())
            if worst <= near or time.monotonic() > deadline:
                return worst
            time.sleep(0.05)

    def add_colour(self, abgr: int, size: tuple[int, int] = (320, 240)) -> str:
        return self.add("color_source_v3", "colour", color=abgr, width=size[0], height=size[1])

    def switch_filter(self, source: str, enabled: bool) -> None:
        self.obs.call(
            "SetSourceFilterEnabled",
            sourceName=source, filterName="to host", filterEnabled=enabled,
        )  # fmt: skip
