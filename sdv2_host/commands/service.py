"""`sdv2-host service`: the systemd unit that runs a host from log-in on and after a crash."""

from __future__ import annotations

import sys
from pathlib import Path

import platformdirs

from sdv2_host.errors import ConfigError
from sdv2_host.models.whole_file import write_whole

WATCHDOG_S = 10
"""The loop gives a sign of life every second; what blocks it for longer has never been seen."""

UNIT = """\
# Made by: sdv2-host service. Start it anew after changes: systemctl --user daemon-reload
[Unit]
Description=sdv2-host {name}: live AI video
# Never given up: a host that keeps crashing begins with its safe engine.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
WorkingDirectory={folder}
ExecStart={command}
WatchdogSec={watchdog_s}
Restart=on-failure
RestartSec=1
# What would only fail again: a wrong setting, no model, a host of this name runs already.
RestartPreventExitStatus=2 5 6
SuccessExitStatus=130 143
KillMode=mixed
TimeoutStopSec=5

[Install]
WantedBy=default.target
"""


def unit_name(name: str) -> str:
    return f"sdv2-host-{name}.service"


def unit(name: str, options: list[str]) -> str:
    """The text of the unit that runs host `name` with these options of `sdv2-host run`."""
    words = [sys.executable, "-m", "sdv2_host", "run", *options]
    return UNIT.format(
        name=name,
        # Files among the options are found from where the unit was made.
        folder=str(Path.cwd()).replace("%", "%%"),
        command=" ".join(map(quoted, words)),
        watchdog_s=WATCHDOG_S,
    )


def quoted(word: str) -> str:
    """As one word of ExecStart. Source: man 5 systemd.service, Command lines."""
    if any(not char.isprintable() for char in word):
        raise ConfigError(f"{word!r:.80}: a unit cannot hold characters that are not printable")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    is_plain = word and not any(char in word for char in " \t'\";")
    return escaped if is_plain else f'"{escaped}"'


def make_service(name: str, options: list[str], *, write: bool) -> None:
    """Prints the unit, or writes it to this user's units and says how it is started.

    Raises:
        ConfigError: not on this system, or it cannot be written.
    """
    if sys.platform != "linux":
        raise ConfigError(
            "sdv2-host service makes units of systemd, which is Linux'; docs/service.md says how "
            "launchd (macOS) and the Task Scheduler (Windows) start a host"
        )
    text = unit(name, options)
    if not write:
        print(text, end="")
        return
    path = units_dir() / unit_name(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    print(f"wrote {path}")
    print("systemctl --user daemon-reload")
    print(f"systemctl --user enable --now {unit_name(name)}")


def units_dir() -> Path:
    """Where this user's units are."""
    return platformdirs.user_config_path() / "systemd" / "user"
