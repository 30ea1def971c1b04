"""The plugin that was built here, in the OBS of a newer Debian. Not a test of the suite: as root,

    debootstrap --variant=minbase --include=obs-studio,obs-plugins,libgl1,libgl1-mesa-dri,\\
        fonts-dejavu-core trixie /tmp/trixie
    python -m tests.obs.newer_obs /tmp/trixie
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sdv2_host.types import AlphaMode
from tests.hosts import unique_name
from tests.obs.numbered import numbered
from tests.obs.obs_process import RunningObs, build_plugin, screen
from tests.obs.stage import Stage
from tests.obs.toy_host import ToyHost


@contextlib.contextmanager
def shared_folders(root: Path) -> Iterator[None]:
    """Homes, run directory, X server and shared memory of this system are those of `root`."""
    mounted: list[Path] = []
    try:
        for folder in ("tmp", "dev", "dev/shm"):
            (root / folder).mkdir(exist_ok=True)
            subprocess.run(["mount", "--bind", f"/{folder}", root / folder], check=True)
            mounted.append(root / folder)
        yield
    finally:
        for folder in reversed(mounted):
            subprocess.run(["umount", folder], check=True)


def check(obs: RunningObs) -> None:
    picture, other = numbered(77, 640, 480), numbered(5, 832, 480)
    with (
        Stage(obs, "newer") as stage,
        ToyHost(unique_name()) as shown,
        ToyHost(unique_name()) as to,
    ):
        shown.show(picture)
        source = stage.add_source(shown.name)
        assert stage.picture(source, picture) == 0
        assert stage.picture(stage.scene, picture) == 0
        stage.add_filter(source, to.name)
        assert to.frame_like(picture, 0) is not None
        stage.leave_air()
        time.sleep(0.5)
        to.input.read_newest()
        assert to.next_input() is not None
        stage.go_on_air()
        shown.show(other)
        assert stage.picture(source, other) == 0
        picture[:, 320:, 3] = 128
        shown.show(picture, alpha=AlphaMode.STRAIGHT)
        stage.set_filter(source, alpha="straight")
        assert to.frame_like(picture, 2) is not None
        stage.set(source, prompt="neon")
        assert b"/sdv2/prompt" in shown.received()


def main(root: Path) -> None:
    with shared_folders(root), screen() as display, tempfile.TemporaryDirectory() as folder:
        module = build_plugin(Path(folder) / "build")
        obs = RunningObs(Path(folder) / "home", display, module, root=root)
        version = obs.call("GetVersion")["obsVersion"]
        try:
            check(obs)
        finally:
            obs.stop()
        print("\n".join(line for line in obs.log().splitlines() if "[sdv2]" in line))
        assert obs.process.returncode == 0
        print(f"OBS {version}: all is well")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
