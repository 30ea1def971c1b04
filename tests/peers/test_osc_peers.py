"""Foreign OSC programs play the host and follow it, in both directions."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sdv2_host.surfaces.pure_data import pure_data
from tests.control.live_plane import Play, live_plane

HERE = Path(__file__).parent
MODULES = HERE / "node_modules" / "osc"


def needs(program: str, how: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"no {program}: {how}")


needs_liblo = needs("oscsend", "apt install liblo-tools")
needs_pd = needs("pd", "apt install puredata-core")
needs_sclang = needs("sclang", "apt install supercollider-language")
needs_npm_osc = pytest.mark.skipif(
    shutil.which("node") is None or not MODULES.exists(), reason="npm ci in tests/peers"
)


@asynccontextmanager
async def program(
    *args: str, env: dict[str, str] | None = None
) -> AsyncIterator[Callable[[], list[str]]]:
    """A foreign program; what it has printed so far, of both streams."""
    child = await asyncio.create_subprocess_exec(
        *args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(env or {})},
    )
    lines: list[str] = []

    async def read() -> None:
        assert child.stdout is not None
        while line := await child.stdout.readline():
            lines.append(line.decode(errors="replace").rstrip())

    reading = asyncio.create_task(read())
    try:
        yield lambda: lines
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
        await reading


@pytest.fixture
def unused_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def heard(lines: list[str], text: str) -> bool:
    return any(text in line for line in lines)


async def send(*args: str) -> None:
    child = await asyncio.create_subprocess_exec("oscsend", *args)
    assert await child.wait() == 0


@needs_liblo
def test_liblo_sends_every_type_over_udp_and_tcp() -> None:
    async def run() -> None:
        async with live_plane() as play:
            port = str(play.plane.port)
            await send("127.0.0.1", port, "/sdv2/prompt", "s", "café neon rain")
            await send("127.0.0.1", port, "/sdv2/steps", "h", "3")
            await send("127.0.0.1", port, "/sdv2/noise/bounds", "fd", "0.25", "0.75")
            await send("127.0.0.1", port, "/sdv2/freeze", "T")
            await send(f"osc.tcp://127.0.0.1:{port}", "/sdv2/seed", "i", "77")
            await send("127.0.0.1", port, "/sdv2/panic")
            await play.until(lambda: play.stage.params.seed == 77 and play.stage.params.panicked)

            params = play.stage.params
            assert (params.prompt, params.steps, params.freeze) == ("café neon rain", 3, True)
            assert (params.noise_s_min, params.noise_s_max) == (0.25, 0.75)

    asyncio.run(run())


@needs_liblo
def test_oscdump_hears_what_changes(unused_udp_port: int) -> None:
    async def run() -> None:
        async with live_plane() as play, program("oscdump", "-L", str(unused_udp_port)) as lines:
            await asyncio.sleep(0.3)
            target = str(play.plane.port), "/sdv2/subscribe", "i", str(unused_udp_port)
            await send("127.0.0.1", *target)
            await play.until(lambda: heard(lines(), "/sdv2/seed"))

            play.console.set({"prompt": "雨 neon", "steps": 4}, "t")

            await play.until(lambda: heard(lines(), '/sdv2/prompt s "雨 neon"'))
            await play.until(lambda: heard(lines(), "/sdv2/steps i 4"))
            await play.until(lambda: heard(lines(), "/sdv2/status/heartbeat i"))
            await play.until(lambda: heard(lines(), "/sdv2/metrics/fps f 25"))

    asyncio.run(run())


@needs_pd
def test_the_patch_of_pure_data_plays_and_follows(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_plane() as play:
            patch = pure_data("127.0.0.1", play.plane.port).decode()
            path = tmp_path / "sdv2.pd"
            shown = ("prompt", "lora", "mix", "quantize", "transition_unit")
            path.write_text(with_prints(patch, *shown))
            moves = "; ".join(
                (
                    "sdv2-steps 3",
                    "sdv2-noise_s_max 0.75",
                    "sdv2-freeze 1",
                    "sdv2-choose-quantize off",
                    "sdv2-choose-transition_unit chunks",
                    "sdv2-panic bang",
                )
            )
            args = ("-nogui", "-noaudio", "-nomidi", "-nrt", "-stderr", "-send", moves)
            async with program("pd", *args, "-open", str(path)) as lines:
                await play.until(lambda: play.stage.params.panicked)
                await play.until(lambda: heard(lines(), "heard: seed 0"))
                play.console.set({"seed": 1234}, "t")
                await play.until(lambda: heard(lines(), "heard: seed 1234"))
                play.console.set({"prompt": "neon city", "prompt_b": "b"}, "t")
                play.console.set({"lora_strength": 0.5, "mix": 0.25, "quantize": "2 bars"}, "t")
                for text in ("prompt: set neon\\ city", "mix: set 0.25", "quantize: set 2\\ bars"):
                    await play.until(lambda text=text: heard(lines(), text))  # type: ignore[misc]

                params = play.stage.params
                assert (params.steps, params.noise_s_max, params.freeze) == (3, 0.75, True)
                assert params.transition_unit == "chunks"
                boxes = {line.partition(":")[0]: line for line in lines() if ": set" in line}
                # Not what deck B and the crossfader say, whose addresses begin in the same way.
                assert boxes["prompt"] == "prompt: set neon\\ city"
                assert boxes["lora"] == "lora: set"
                assert [line for line in lines() if "error" in line] == []
                assert not heard(lines(), "couldn't create")

    asyncio.run(run())


def with_prints(patch: str, *names: str) -> str:
    """The patch, and beside it prints of all feedback and of what these boxes are told."""
    shown = {"heard": "sdv2-in", **{name: f"sdv2-{name}" for name in names}}
    inside = ["#N canvas 0 0 400 400 prints 0;"]
    inside += [
        f"#X obj 10 10 r {said};\n#X obj 10 40 print {name};" for name, said in shown.items()
    ]
    inside += [f"#X connect {2 * i} 0 {2 * i + 1} 0;" for i in range(len(shown))]
    return "\n".join([patch.rstrip(), *inside, "#X restore 400 34 pd prints;"]) + "\n"


@needs_sclang
def test_supercollider_plays_and_follows() -> None:
    async def run(play: Play) -> None:
        env = {"QTWEBENGINE_DISABLE_SANDBOX": "1", "QT_QPA_PLATFORM": "offscreen"}
        args = ("sclang", "-D", str(HERE / "peer.scd"), str(play.plane.port))
        async with program(*args, env=env) as lines:
            await play.until(lambda: play.stage.params.freeze)
            await play.until(lambda: heard(lines(), "HEARD /sdv2/steps 2"))
            play.console.set({"seed": 4321}, "t")
            await play.until(lambda: heard(lines(), "HEARD /sdv2/seed 4321"))

            params = play.stage.params
            assert params.prompt == "collider rain"
            assert (params.noise_s_min, params.noise_s_max) == (0.25, 0.75)

    async def alone() -> None:
        async with live_plane() as play:
            await run(play)

    asyncio.run(alone())


@needs_npm_osc
@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_npm_osc_plays_and_follows(kind: str) -> None:
    async def run() -> None:
        async with live_plane() as play:
            args = ("node", str(HERE / "osc_peer.js"), kind, str(play.plane.port))
            async with program(*args) as lines:
                await play.until(lambda: play.stage.params.freeze)
                await play.until(lambda: heard(lines(), '"/sdv2/seed",[0]'))
                play.console.set({"seed": 99}, "t")
                await play.until(lambda: heard(lines(), '"/sdv2/seed",[99]'))

                params = play.stage.params
                assert (params.steps, params.prompt) == (3, "npm rain café")
                messages = [json.loads(line) for line in lines() if line.startswith("[")]
                assert any(address == "/sdv2/metrics/fps" for address, _ in messages)

    asyncio.run(run())
