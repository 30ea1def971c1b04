"""What the doctor looks at for a config: one list, for `sdv2-host doctor` and `soundcheck`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import platformdirs

from sdv2_host.asking import ask
from sdv2_host.checkup.device import FACTS_S, check_driver, check_engine, check_fps
from sdv2_host.checkup.device import GROUP as DEVICE
from sdv2_host.checkup.finding import Finding, summary, worst
from sdv2_host.checkup.machine import GROUP as MACHINE
from sdv2_host.checkup.machine import check_clock, check_cores, check_memory, check_power
from sdv2_host.checkup.model_files import GROUP as MODELS
from sdv2_host.checkup.model_files import VERIFY_LIMIT_S, check_models
from sdv2_host.checkup.outputs import GROUP as OUTPUTS
from sdv2_host.checkup.outputs import check_camera, check_obs
from sdv2_host.checkup.places import GROUP as PLACES
from sdv2_host.checkup.places import check_data_folders, check_run_folder
from sdv2_host.checkup.ports import GROUP as PORTS
from sdv2_host.checkup.ports import check_ports
from sdv2_host.checkup.rings import GROUP as RINGS
from sdv2_host.checkup.rings import check_leftovers, check_round_trip, check_space
from sdv2_host.checkup.round import Check, run_round
from sdv2_host.checkup.software import GROUP as SOFTWARE
from sdv2_host.checkup.software import check_software
from sdv2_host.config import Config
from sdv2_host.ipc.run_dir import APP_DIR
from sdv2_host.params import Params
from sdv2_host.types import ProgressFn

OBS_S = 45.0
"""OBS and flatpak are asked for their version, 20 s each at most."""
FPS_SECONDS = 4.0
FPS_LIMIT_S = 240.0
"""With the loading and warm-up of a Wan engine, which compiles."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The show that is asked about."""

    config: Config
    params: Params
    is_quick: bool = False
    """Measures no speed, and tells models by name and size alone."""


def checks_of(wanted: Wanted) -> list[Check]:
    """In the order of the table. None of them changes anything, but for files that are gone
    again at once."""
    config = wanted.config
    receipt = platformdirs.user_state_path(APP_DIR, appauthor=False) / "obs-plugin.json"
    models = partial(check_models, config, wanted.params.lora, reads_all=not wanted.is_quick)
    return [
        Check(SOFTWARE, "packages", check_software),
        Check(MACHINE, "memory", partial(check_memory, config.engine)),
        Check(MACHINE, "power", check_power),
        Check(MACHINE, "clock", check_clock),
        Check(DEVICE, "NVIDIA driver", partial(check_driver, config, ask)),
        Check(DEVICE, "engine", partial(check_engine, config), FACTS_S + 5),
        Check(MODELS, "model files", models, 15.0 if wanted.is_quick else VERIFY_LIMIT_S),
        Check(RINGS, "space", partial(check_space, config)),
        Check(RINGS, "rings", partial(check_round_trip, config)),
        Check(RINGS, "left by dead hosts", check_leftovers),
        Check(PORTS, "ports", partial(check_ports, config, ask)),
        Check(PLACES, "run directory", partial(check_run_folder, config)),
        Check(PLACES, "folders", partial(check_data_folders, config)),
        Check(OUTPUTS, "virtual camera", partial(check_camera, config), OBS_S),
        Check(OUTPUTS, "OBS", partial(check_obs, receipt), OBS_S),
    ]


def examine(wanted: Wanted, progress: ProgressFn) -> list[Finding]:
    """All findings. How busy the processor is is looked at before the rest, which keeps it busy,
    and its speed after it."""
    before = run_round([Check(MACHINE, "processor", check_cores)], progress)
    findings = in_groups([*run_round(checks_of(wanted), progress), *before])
    if wanted.is_quick:
        return findings
    look = partial(check_fps, wanted.config, wanted.params, FPS_SECONDS, FPS_LIMIT_S)
    after = run_round([Check(DEVICE, "speed", look, FPS_LIMIT_S + 5)], progress)
    return in_groups([*findings, *after])


def in_groups(findings: Sequence[Finding]) -> list[Finding]:
    """Those of a group together, groups as they are first mentioned."""
    groups = list(dict.fromkeys(finding.group for finding in findings))
    return sorted(findings, key=lambda finding: groups.index(finding.group))


def report(wanted: Wanted, findings: Sequence[Finding]) -> dict[str, Any]:
    """For `--json`, the verdict page and the support bundle."""
    return {
        "verdict": worst(finding.verdict for finding in findings).value,
        "summary": summary(findings),
        "config": wanted.config.model_dump(),
        "findings": [finding.to_json() for finding in findings],
    }
