"""`sdv2-host soundcheck`: the show, played to nobody, and a page that says whether it is ready."""

from __future__ import annotations

import asyncio
import platform
import secrets
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdv2_host.asking import ask
from sdv2_host.bench.show_run import ShowPlan, run_show
from sdv2_host.checkup.doctor import Wanted, examine
from sdv2_host.checkup.finding import Finding, Verdict, table_lines
from sdv2_host.checkup.judging import Judgement, Readiness, judge
from sdv2_host.checkup.measures import Measures
from sdv2_host.checkup.verdict_page import Facts, verdict_page
from sdv2_host.commands.doctor import LateProgress, json_report
from sdv2_host.commands.narrator import Narrator
from sdv2_host.commands.report import check_writable, hardware, write_json
from sdv2_host.commands.support import LAST_SOUNDCHECK, SupportPlan, bundle_up
from sdv2_host.config import ENGINES, Config
from sdv2_host.errors import SourceError, WorkerError
from sdv2_host.host.folders import folders
from sdv2_host.params import Params
from sdv2_host.sinks.video_file import cannot_write

PAGE, NUMBERS, LOG, BUNDLE = "verdict.html", "soundcheck.json", "host.log", "support.zip"
NOT_OPTIONS = frozenset(("width", "height", "obs_scenes", "obs_follow", "name", "port", "resume"))
"""Fields of the config that `run` is not told by an option of their name, or not as they are."""
PARAM_OPTIONS = ("prompt", "steps", "noise_s_min", "noise_s_max", "seed", "lora", "lora_strength")


@dataclass(frozen=True, slots=True)
class SoundcheckPlan:
    """What is asked for."""

    wanted: Wanted
    source: Sequence[str]
    """Of `python -m sdv2_host.sources`, without the stream."""
    seconds: float
    out: Path
    config_file: Path | None = None
    """That was asked for."""

    @property
    def options(self) -> str:
        """Of the command line, for this show."""
        words = show_options(self.wanted.config, self.wanted.params)
        # What a config file alone can say, such as OBS' scenes, is in no option.
        named = ["--config", str(self.config_file)] if self.config_file is not None else []
        return shlex.join([*words, *named])


def soundcheck(plan: SoundcheckPlan) -> int:
    """Writes the page, the numbers and the host's log; the exit code: 1 where it is not ready.

    Raises:
        ConfigError: the folder cannot be written.
    """
    check_writable(plan.out / PAGE)
    narrator = Narrator()
    narrator.say("looking at this computer")
    try:
        findings = examine(plan.wanted, LateProgress(narrator))
    finally:
        narrator.close()
    narrator.say(f"playing a show of {plan.seconds:.0f} s to nobody")
    measures, fault = _measured(plan, narrator)
    if fault is not None:
        findings = [*findings, fault]
    judgement = judge(measures, findings, f"sdv2-host run {plan.options}".rstrip())
    _write(plan, judgement, measures, findings)
    print("\n".join((judgement.readiness.value, *judgement.sentences)))
    if judgement.readiness is not Readiness.READY:
        worrying = [one for one in findings if one.verdict is not Verdict.OK]
        print("\n".join(table_lines(worrying)))
    narrator.say(f"wrote {plan.out / PAGE}, {NUMBERS} and {LOG}")
    bundle_up(SupportPlan(plan.wanted, plan.config_file, plan.out / BUNDLE, False), findings)
    return 1 if judgement.readiness is Readiness.NOT_READY else 0


def _measured(plan: SoundcheckPlan, narrator: Narrator) -> tuple[Measures | None, Finding | None]:
    """What was measured; or why there was no picture."""
    config = plan.wanted.config
    name = f"check-{secrets.token_hex(4)}"
    show = ShowPlan(
        name,
        host_args(config, plan.wanted.params, name),
        plan.source,
        config.engine,
        plan.seconds,
        config.output_fps,
        plan.out / LOG,
    )
    try:
        return asyncio.run(run_show(show, ask, LateProgress(narrator))), None
    except (WorkerError, SourceError) as error:
        what = "the host" if isinstance(error, WorkerError) else "the source"
        todo = "put right what the table says, then run the soundcheck again"
        return None, Finding("Show", what, Verdict.TROUBLE, str(error), "there is no show", todo)
    finally:
        narrator.close()


def host_args(config: Config, params: Params, name: str) -> list[str]:
    """Of `sdv2-host run`, for a host as the config says but by this name, on a port of its own, and
    without what the last run left."""
    return ["--name", name, "--port", "0", "--resume", "default", *show_options(config, params)]


def show_options(config: Config, params: Params) -> list[str]:
    """Options of `sdv2-host run` for what is not as it is without any."""
    defaults = ENGINES[config.engine]
    is_sized = config.engine != "passthrough" and config.size != defaults.size
    options = ["--size", str(config.size)] if is_sized else []
    plain = Config()
    for field in Config.model_fields:
        value = getattr(config, field)
        if field not in NOT_OPTIONS and value != getattr(plain, field):
            options += [_option(field)] if value is True else [_option(field), str(value)]
    begun = Params().model_copy(update=defaults.params)
    for field in PARAM_OPTIONS:
        value = getattr(params, field)
        if value != getattr(begun, field):
            options += [_option(field), str(value)]
    return options


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


def _write(
    plan: SoundcheckPlan,
    judgement: Judgement,
    measures: Measures | None,
    findings: list[Finding],
) -> None:
    when = time.strftime("%A %d %B %Y, %H:%M")
    command = f"sdv2-host soundcheck --minutes {plan.seconds / 60:g} {plan.options}".rstrip()
    machine = {"computer": platform.node(), **hardware()}
    page = verdict_page(judgement, measures, findings, Facts(when, command, machine))
    path = plan.out / PAGE
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error
    content: dict[str, Any] = {
        "readiness": judgement.readiness.value,
        "sentences": judgement.sentences,
        "when": when,
        "doctor": json_report(plan.wanted, findings),
        "measures": measures.to_json() if measures is not None else None,
    }
    write_json(plan.out / NUMBERS, content)
    pointer = folders(plan.wanted.config).state / LAST_SOUNDCHECK
    try:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.write_text(str(plan.out.absolute()), encoding="utf-8")
    except OSError as error:
        raise cannot_write(pointer, error) from error
