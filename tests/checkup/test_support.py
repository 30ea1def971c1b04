"""The support bundle of a computer on which everything that can be secret is planted everywhere."""

from __future__ import annotations

import json
import signal
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdv2_host.checkup.bundle import LOG_CHARS, MANIFEST, Bundle, write_bundle
from sdv2_host.checkup.redaction import SECRET, Known, Redaction
from sdv2_host.cli import main
from sdv2_host.commands.support import LAST_SOUNDCHECK
from sdv2_host.control.state_file import STATE, State
from sdv2_host.errors import ConfigError
from tests.hosts import RunningHost, unique_name

JOIN_TOKEN = "rt9.Kw0-ring-token"
OBS_PASSWORD = 'obs pass "word" 4\'2'
VARIABLE = "variable-hunter2"
CONFIG_SECRET = "config+hunter2"
HUB_TOKEN = "hf_QwErTyUiOpAsDfGhJkLz"
STREAM_KEY = "abcd-1234-efgh-5678-ijkl"
LIVE_PROMPT = "a lighthouse nobody may know of"
KEPT_PROMPT = "last nights owl"
PLANTED = {
    "the token of agents": JOIN_TOKEN,
    "OBS' password": OBS_PASSWORD,
    "a variable": VARIABLE,
    "a key of the config": CONFIG_SECRET,
    "the hub's token": HUB_TOKEN,
    "a stream key": STREAM_KEY,
    "the prompt on air": LIVE_PROMPT,
    "the prompt of the last run": KEPT_PROMPT,
    "the home folder": "mary_of_the_night",
}
LOG = f"""12:00:00 joined with {JOIN_TOKEN}
12:00:01 OBS refused {OBS_PASSWORD}; retrying
12:00:02 {json.dumps({"said": OBS_PASSWORD})}
12:00:03 env {VARIABLE} {HUB_TOKEN}
12:00:04 sending to rtmp://a.rtmp.youtube.com/live2/{STREAM_KEY}
12:00:05 prompt '{LIVE_PROMPT}' is encoded, was {KEPT_PROMPT}
12:00:06 live: fresh frames reach the output
"""

Write = Callable[..., zipfile.ZipFile]


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in which all that is planted, and a host that runs."""
    home = tmp_path_factory.mktemp("homes") / "mary_of_the_night"
    data, hub, checked = home / "show", home / "hub", home / "soundcheck"
    for folder in (data / "state", hub, checked):
        folder.mkdir(parents=True)
    (home / "ring.token").write_text(JOIN_TOKEN + "\n")
    (home / "obs.txt").write_text(OBS_PASSWORD + "\n")
    (data / "config.toml").write_text(
        f"join_token_file = '{home / 'ring.token'}'\nobs_password_file = '{home / 'obs.txt'}'\n"
        f"[obs.scenes]\n'{CONFIG_SECRET}' = {{ cue = 'next' }}\n"
    )
    STATE.write(data / "state" / "old.json", State(params={"/sdv2/prompt": KEPT_PROMPT}))
    (data / "state" / LAST_SOUNDCHECK).write_text(str(checked))
    (checked / "host.log").write_text(LOG)
    (checked / "verdict.html").write_text(f"<p>{home} {LIVE_PROMPT}</p>")
    (checked / "soundcheck.json").write_text(json.dumps({"when": LOG, "cwd": str(home)}))
    name = unique_name()
    options = ("--engine", "passthrough", "--port", "0", "--data-dir", str(home / "hosts"))
    with RunningHost("run", "--name", name, *options, "--prompt", LIVE_PROMPT) as running:
        running.wait_for("control page")
        yield home


@pytest.fixture
def write(
    show: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Write]:
    """Runs `sdv2-host support` as the user whose home it is."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Path, "home", lambda: show)
    monkeypatch.setenv("VJ_API_KEY", VARIABLE)
    monkeypatch.setenv("MY_CONFIG_SECRET", CONFIG_SECRET)
    monkeypatch.setenv("YT_STREAM_KEY", STREAM_KEY)
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)

    def run(*args: str) -> zipfile.ZipFile:
        out = tmp_path / "support.zip"
        options = ("--engine", "passthrough", "--data-dir", str(show / "show"))
        monkeypatch.setattr(
            sys, "argv", ["sdv2-host", "support", "--out", str(out), *options, *args]
        )
        assert main() == 0
        return zipfile.ZipFile(out)

    yield run
    signal.signal(signal.SIGTERM, before)


def contents(bundle: zipfile.ZipFile) -> dict[str, str]:
    return {name: bundle.read(name).decode() for name in bundle.namelist()}


def test_nothing_that_was_planted_is_in_the_zip(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    found = contents(write())

    printed = capsys.readouterr().out
    everything = "\n".join((printed, *found, *found.values()))
    for planted in PLANTED.values():
        for spelt in (planted, json.dumps(planted)[1:-1], planted.upper()):
            assert spelt not in everything.replace(printed.splitlines()[-1], "")
    assert {"manifest.txt", "doctor.json", "config.json", "versions.json", "host-1.json"} <= set(
        found
    )
    assert "live: fresh frames reach the output" in found["soundcheck/host.log"]
    assert json.loads(found["soundcheck/soundcheck.json"])["cwd"] == "<~>"
    running = [json.loads(found[name]) for name in found if name.startswith("host-")]
    assert any(one.get("status", {}).get("engine") == "passthrough" for one in running)


def test_what_is_in_it_is_printed_and_is_the_manifest(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    found = contents(write())

    printed = capsys.readouterr().out
    manifest = found.pop(MANIFEST)
    assert manifest in printed
    assert all(name in manifest for name in found)
    assert "secret, now <S>" in manifest


def test_prompts_are_in_it_where_that_is_asked_for_and_nothing_else(write: Write) -> None:
    found = "\n".join(contents(write("--with-prompts")).values())

    assert LIVE_PROMPT in found
    assert all(PLANTED[one] not in found for one in PLANTED if "prompt" not in one)


def test_of_a_long_log_the_end_is_in_it_and_a_long_page_is_whole() -> None:
    bundle = Bundle(Redaction([], keeps_prompts=False))
    text = f"began {'. ' * LOG_CHARS} ended"

    bundle.add_text("host.log", "a log", text)
    bundle.add_text("soundcheck.json", "numbers", text)

    log, numbers = (entry.content for entry in bundle.entries)
    assert (len(log), log[-5:]) == (LOG_CHARS, "ended")
    assert numbers == text


def test_a_bundle_that_still_holds_a_secret_is_not_written(tmp_path: Path) -> None:
    bundle = Bundle(Redaction([Known("hunter2", SECRET)], keeps_prompts=False))
    bundle.add_text("log.txt", "a log", "fine")
    bundle.entries[0] = type(bundle.entries[0])("log.txt", "a log", "not cleaned: hunter2")

    with pytest.raises(AssertionError, match="nothing was written"):
        write_bundle(bundle, tmp_path / "support.zip", bundle.manifest())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_the_zip_is_readable_by_this_user_alone(tmp_path: Path) -> None:
    write_bundle(Bundle(Redaction([], keeps_prompts=False)), tmp_path / "support.zip", [])

    assert (tmp_path / "support.zip").stat().st_mode & 0o777 == 0o600


def test_a_place_that_cannot_be_written_is_refused_in_words(tmp_path: Path) -> None:
    bundle = Bundle(Redaction([], keeps_prompts=False))
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="choose another place with --out"):
        write_bundle(bundle, tmp_path / "file" / "support.zip", [])
