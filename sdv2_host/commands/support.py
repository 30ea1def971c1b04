"""`sdv2-host support`: one zip for whoever helps, without what is nobody's business."""

from __future__ import annotations

import os
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import platformdirs

from sdv2_host.asking import ask
from sdv2_host.checkup.bundle import Bundle, write_bundle
from sdv2_host.checkup.doctor import Wanted, examine
from sdv2_host.checkup.finding import Finding
from sdv2_host.checkup.known_secrets import (
    known_of_environment,
    known_of_files,
    known_of_hosts,
    known_of_prompt,
    known_of_user,
    known_prompts,
)
from sdv2_host.checkup.redaction import Known, Redaction
from sdv2_host.commands.client import Client
from sdv2_host.commands.config_file import FILE_NAME, config_path
from sdv2_host.commands.doctor import LateProgress, json_report
from sdv2_host.commands.narrator import Narrator
from sdv2_host.control.access import running_hosts
from sdv2_host.errors import HostError
from sdv2_host.host.folders import folders
from sdv2_host.ipc.run_dir import APP_DIR, run_dirs

LAST_SOUNDCHECK = "last-soundcheck.txt"
"""In the state folder: where the newest soundcheck lies."""
SOUNDCHECK_FILES = ("soundcheck.json", "verdict.html", "host.log")
JOURNAL = ("journalctl", "--user", "--unit=sdv2-host*", "--lines=2000", "--no-pager")


@dataclass(frozen=True, slots=True)
class SupportPlan:
    """What is asked for."""

    wanted: Wanted
    config_file: Path | None
    out: Path
    keeps_prompts: bool


def support(plan: SupportPlan) -> int:
    """Looks, prints what will be in the zip, and writes it; the exit code.

    Raises:
        ConfigError: it cannot be written.
    """
    narrator = Narrator()
    try:
        findings = examine(plan.wanted, LateProgress(narrator))
    finally:
        narrator.close()
    bundle_up(plan, findings)
    return 0


def bundle_up(plan: SupportPlan, findings: list[Finding]) -> None:
    """The zip is there; what is in it was printed before.

    Raises:
        ConfigError: it cannot be written.
    """
    config = plan.wanted.config
    hosts = list(_hosts())
    known = [*_known(plan), *(one for host in hosts for one in _known_of_host(host))]
    bundle = Bundle(Redaction(known, keeps_prompts=plan.keeps_prompts))
    bundle.add_json("doctor.json", "this computer", json_report(plan.wanted, findings))
    bundle.add_json("versions.json", "packages", _versions())
    _add_config(bundle, config_path(plan.wanted.config.data_dir, plan.config_file))
    for number, host in enumerate(hosts, 1):
        bundle.add_json(f"host-{number}.json", "a host that runs, and its log", host)
    if not hosts:
        bundle.absent.append("a running host")
    _add_soundcheck(bundle, folders(config).state / LAST_SOUNDCHECK)
    build_log = platformdirs.user_state_path(APP_DIR, appauthor=False) / "obs-plugin-build.log"
    bundle.add_file("obs-plugin-build.log", "how the plug-in for OBS was built", build_log)
    _add_journal(bundle)
    manifest = bundle.manifest()
    print("\n".join(manifest), flush=True)
    write_bundle(bundle, plan.out, manifest)
    print(f"wrote {plan.out}; read it before you send it")


def default_name() -> str:
    """Of the zip."""
    return time.strftime("sdv2-support-%Y%m%d-%H%M.zip")


def _known(plan: SupportPlan) -> Iterator[Known]:
    config, params = plan.wanted.config, plan.wanted.params
    yield from known_of_user(Path.home())
    yield from known_of_environment(os.environ)
    yield from known_of_files(config)
    yield from known_of_hosts(run_dirs())
    yield from known_prompts(config, folders(config).state)
    for prompt in (params.prompt, params.prompt_b):
        yield from known_of_prompt(prompt)


def _known_of_host(host: dict[str, Any]) -> Iterator[Known]:
    values = host.get("state", {}).get("values", {})
    prompts = [values.get("prompt", ""), values.get("prompt_b", "")]
    for prompt in (*prompts, host.get("status", {}).get("prompt", "")):
        yield from known_of_prompt(str(prompt))


def _hosts() -> Iterator[dict[str, Any]]:
    """What each running host says of itself."""
    for found in running_hosts():
        client = Client(found)
        try:
            yield {
                "status": client.get("/api/status"),
                "state": client.get("/api/state"),
                "notices": client.get("/api/notices")["notices"],
            }
        except HostError as error:
            yield {"error": str(error)}


def _versions() -> dict[str, str]:
    names = {one.metadata["Name"]: one.version for one in metadata.distributions()}
    return {"python": sys.version, **dict(sorted(names.items()))}


def _add_config(bundle: Bundle, path: Path) -> None:
    """Setting by setting: a file that cannot be read as settings is left out, since what is in it
    cannot be told apart."""
    try:
        with path.open("rb") as file:
            raw = tomllib.load(file)
    except FileNotFoundError:
        bundle.absent.append(f"{FILE_NAME}: there is none")
    except (OSError, ValueError, RecursionError) as error:
        bundle.absent.append(f"{FILE_NAME}: cannot be read ({type(error).__name__})")
    else:
        bundle.add_json("config.json", "the config file's settings", raw)


def _add_soundcheck(bundle: Bundle, pointer: Path) -> None:
    try:
        folder = Path(pointer.read_text(encoding="utf-8").strip())
    except OSError:
        bundle.absent.append("a soundcheck: none was made yet")
        return
    for name in SOUNDCHECK_FILES:
        bundle.add_file(f"soundcheck/{name}", "the newest soundcheck", folder / name)


def _add_journal(bundle: Bundle) -> None:
    said = ask(JOURNAL) if sys.platform == "linux" else None
    if said:
        bundle.add_text("journal.log", "the log of hosts that run as a service", said)
    else:
        bundle.absent.append("the log of hosts that run as a service")
