"""A soundcheck with a real host, as short as can be; the arguments that it starts hosts with."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import pytest

from sdv2_host.bench.show_run import PLAYED, until_live
from sdv2_host.bench.show_script import LOOKS, Stage, show_script
from sdv2_host.checkup.doctor import Wanted
from sdv2_host.checkup.judging import PANIC, Readiness
from sdv2_host.commands.settings import make_config, make_params
from sdv2_host.commands.soundcheck import SoundcheckPlan, show_options, soundcheck
from sdv2_host.config import ENGINES, Config, EngineName
from sdv2_host.control.access import remove_host_file, write_host_file
from sdv2_host.control.preset_file import PRESET
from sdv2_host.errors import WorkerError
from sdv2_host.host.folders import shipped
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.ipc.host_file import HostFile
from sdv2_host.param_table import BY_ADDRESS
from sdv2_host.params import Params
from sdv2_host.types import Size
from tests.hosts import descriptors, unique_name


def plan(out: Path, data: Path, *source: str) -> SoundcheckPlan:
    config = Config(engine="passthrough", data_dir=str(data))
    return SoundcheckPlan(Wanted(config, Params(), is_quick=True), source, 3.0, out)


def test_a_real_show_is_played_and_judged_and_nothing_runs_afterwards(tmp_path: Path) -> None:
    out = tmp_path / "out"

    code = soundcheck(plan(out, tmp_path / "data", "--pattern", "64x64"))

    told = json.loads((out / "soundcheck.json").read_text())
    measures = told["measures"]
    assert code == (1 if told["readiness"] == Readiness.NOT_READY else 0)
    assert told["readiness"] in (out / "verdict.html").read_text()
    assert measures["fresh_fps"] > 0
    assert measures["latency_ms"]["p50"] > 0
    assert measures["ended"] == ""
    assert {PANIC, "resume", "engine stopped for 1 s"} <= {
        one["what"] for one in measures["events"]
    }
    assert [one for one in measures["events"] if one["is_refused"]] == []
    assert measures["samples"][-1]["host_mib"] > 10
    log = (out / "host.log").read_text()
    name = re.search(r"input ring (check-\w+)-in", log)
    assert name is not None
    assert descriptors(name[1]) == []
    assert "stopped;" in log.splitlines()[-1]
    with zipfile.ZipFile(out / "support.zip") as bundle:
        assert "soundcheck/soundcheck.json" in bundle.namelist()


def test_a_source_that_cannot_be_opened_is_not_ready_and_says_why(tmp_path: Path) -> None:
    code = soundcheck(plan(tmp_path / "out", tmp_path, "--file", str(tmp_path / "none.mp4")))

    told = json.loads((tmp_path / "out" / "soundcheck.json").read_text())
    page = (tmp_path / "out" / "verdict.html").read_text()
    assert code == 1
    assert told["readiness"] == "NOT READY"
    assert "none.mp4" in told["sentences"][1]
    assert "No picture was ever styled." in page


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_played_exists_and_changes_what_is_put_back(engine: str) -> None:
    sets: list[dict[str, object]] = []
    calls: list[tuple[object, ...]] = []

    def remember(values: dict[str, object], fade_s: float) -> str:
        sets.append(values)
        return ""

    def call(*words: object) -> str:
        calls.append(words)
        return ""

    script = show_script(cast(EngineName, engine))
    for step in script:
        step.act(Stage(remember, call, str, lambda: "back"))

    kept = [PRESET.read(path).value for path in shipped("presets").glob("*.json")]
    presets = {preset.name: preset for preset in kept}
    loaded = [presets[str(words[1])] for words in calls if words[0] == "preset_load"]
    set_by_presets = {BY_ADDRESS[address].name for one in loaded for address in one.params}
    assert set_by_presets | {name for values in sets for name in values} == set(PLAYED)
    assert [step.at for step in script] == sorted(step.at for step in script)
    assert all(0 <= step.at < 1 for step in script)
    assert script[-1].act(Stage(remember, call, str, lambda: "back")) == "back"
    assert set(LOOKS) <= set(ENGINES)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, []),
        ({"engine": "wan-1.3b"}, ["--engine", "wan-1.3b"]),
        (
            {"engine": "tiny", "size": "128x64", "steps": 1, "prompt": "a b", "file_rings": True},
            ["--size", "128x64", "--file-rings", "--prompt", "a b", "--steps", "1"],
        ),
        ({"name": "stage1", "port": 9500, "resume": "default", "vae": "taehv"}, ["--vae", "taehv"]),
    ],
)
def test_a_host_is_started_with_the_options_that_were_given(
    options: dict[str, object], said: list[str]
) -> None:
    config, params = make_config(options), make_params(options)

    assert show_options(config, params) == said


def test_the_show_is_to_be_started_with_the_config_file_it_was_checked_with(tmp_path: Path) -> None:
    given = SoundcheckPlan(
        Wanted(Config(vae="taehv"), Params()), (), 3.0, tmp_path, Path("my shows/friday.toml")
    )

    assert given.options == "--vae taehv --config 'my shows/friday.toml'"


def test_the_size_of_the_engine_itself_is_not_said() -> None:
    assert Config().size == Size(256, 256)
    assert "--size" not in show_options(make_config({"engine": "wan-14b"}), Params())


class _Answers(BaseHTTPRequestHandler):
    """A host that says the same whatever it is asked."""

    status: dict[str, str]

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(self.status).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.mark.parametrize("state", ["failed", "safe"])
def test_a_host_that_gave_its_engine_up_is_not_waited_for(state: str) -> None:
    name = unique_name()
    says = type("Says", (_Answers,), {"status": {"state": state, "detail": "out of memory"}})
    with ThreadingHTTPServer(("127.0.0.1", 0), says) as server, FrameWriter(f"{name}-out"):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        write_host_file(HostFile(os.getpid(), name, "127.0.0.1", server.server_port, "", "1", 0))
        try:
            with pytest.raises(WorkerError, match="cannot be had: out of memory"):
                asyncio.run(until_live(name, lambda: "", lambda *_: None))
        finally:
            remove_host_file(name)
            server.shutdown()
            thread.join()
