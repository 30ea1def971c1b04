"""Makes .venv, installs the tested pins, then runs. Needs nothing but Python 3.11 to 3.13.

    python bootstrap.py demo                 live restyled picture in the browser
    python bootstrap.py test                 ruff, mypy, pytest in three passes; more arguments go
                                             to pytest, in one pass if they say more than --slow
    python bootstrap.py COMMAND [ARGS...]    any sdv2-host command: run, render, bench, params, ...

A second run starts at once: .venv/bootstrap.json holds a hash of everything the install came from.
Standard library only, and old syntax on purpose: an old Python must get as far as the message.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent
SUPPORTED = ((3, 11), (3, 12), (3, 13))
PROBED_MODULES = (
    "aiohttp",
    "av",
    "ftfy",
    "huggingface_hub",
    "numpy",
    "PIL",
    "pydantic",
    "rich",
    "sdv2_host",
    "torch",
    "transformers",
    "typer",
)
PROBED_DEV_MODULES = ("hypothesis", "mypy", "pytest", "ruff", "xdist")
LOG_TAIL_LINES = 15
MAX_WORKERS = 4
"""Of the tests that run beside each other: each loads PyTorch, in 1 GB."""
ALIKE_IN_ALL = ("--slow", "--soak", "--second-try", "--durations=", "--timeout=", "--tb=")
"""Options of pytest that lose nothing in several passes: a report would be written over by the
next, and a debugger has no terminal in the first."""


class BootstrapError(Exception):
    """One line for the user: what is wrong and what to do."""


def check_python(version: tuple[int, int], find: Callable[[], list[str]]) -> None:
    """Refuses a Python the pins were not tested with, and only then starts others to `find` one."""
    if version in SUPPORTED:
        return
    want = "sdv2-host needs Python 3.11, 3.12 or 3.13, this is Python {}.{}".format(*version)
    found = find()
    if found:
        raise BootstrapError(f"{want}; run: {found[0]} bootstrap.py")
    raise BootstrapError(want + "; install Python 3.13 from https://www.python.org/downloads/")


def find_pythons() -> list[str]:
    """Commands on PATH that start a supported Python, newest first; not every shim has one."""
    names = ["python{}.{}".format(*version) for version in reversed(SUPPORTED)]
    return [name for name in names if succeeds([shutil.which(name) or name, "-c", ""])]


def succeeds(command: list[str], cwd: Path | None = None) -> bool:
    """Whether the command starts and ends well within a minute; its output is dropped."""
    try:
        drop = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.run(command, cwd=cwd, timeout=60, check=False, **drop).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def venv_python(venv_dir: Path) -> Path:
    return venv_dir / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install_digest(root: Path) -> str:
    """Changes when a new install is due: the pins, the project file, this file or its place."""
    digest = hashlib.sha256(str(root).encode())
    for name in ("constraints.txt", "pyproject.toml", "bootstrap.py"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def read_stamp(venv_dir: Path) -> dict:
    """What the last complete install was of; empty when there was none."""
    try:
        stamp = json.loads((venv_dir / "bootstrap.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def is_healthy(python: Path, dev: bool) -> bool:
    """Whether that Python starts, is a supported one, and finds every direct dependency."""
    modules = PROBED_MODULES + (PROBED_DEV_MODULES if dev else ())
    probe = (
        "import sys; from importlib.util import find_spec\n"
        "missing = [name for name in sys.argv[1:] if find_spec(name) is None]\n"
        f"sys.exit(bool(missing) or sys.version_info[:2] not in {SUPPORTED})"
    )
    # Not in ROOT: the package must be found as installed.
    return succeeds([str(python), "-c", probe, *modules], cwd=python.parent)


def is_ready(root: Path, dev: bool) -> bool:
    """Whether .venv is complete for this checkout, so that nothing needs installing."""
    venv_dir = root / ".venv"
    stamp = read_stamp(venv_dir)
    if stamp.get("digest") != install_digest(root) or (dev and not stamp.get("dev")):
        return False
    return is_healthy(venv_python(venv_dir), dev)


def say(text: str) -> None:
    print("bootstrap: " + text, flush=True)


class PipProgress:
    """Turns pip's lines into one line per large step; on a terminal the line is rewritten."""

    def __init__(self) -> None:
        self._is_live = sys.stdout.isatty()
        self._package = ""
        self._shown_at = 0.0
        self._collected = 0

    def feed(self, line: str) -> None:
        """Takes one line of pip's output."""
        words = line.split() or [""]
        if words[0] == "Collecting" and len(words) > 1:
            self._collected += 1
            self._rewrite(f"{self._collected:3d} packages looked up")
        elif words[0] == "Downloading" and len(words) > 1:
            self._package = words[1].rsplit("/", 1)[-1]
            if not self._is_live and line.rstrip().endswith(("MB)", "GB)")):
                print(f"  {line.strip()}", flush=True)
        elif words[0] == "Progress" and len(words) == 4 and time.monotonic() > self._shown_at + 0.1:
            done_mb, total_mb = (int(word) / (1 << 20) for word in words[1::2])
            self._rewrite(f"{self._package[:48]} {done_mb:.0f} of {total_mb:.0f} MB")
        elif line.startswith("Installing collected packages"):
            self._rewrite(f"unpacking {line.count(',') + 1} packages", is_step=True)

    def close(self) -> None:
        if self._is_live:
            print("\r\033[K", end="", flush=True)

    def _rewrite(self, text: str, is_step: bool = False) -> None:
        if self._is_live:
            self._shown_at = time.monotonic()
            width = shutil.get_terminal_size().columns - 3
            print("\r\033[K  " + text[:width], end="", flush=True)
        elif is_step:
            print("  " + text, flush=True)


def pip_install(python: Path, args: list[str], log_path: Path) -> None:
    """Runs `pip install`; all of its output goes to the log, a short form to the screen.

    Raises:
        BootstrapError: pip failed; the end of its log was printed.
    """
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    lines: list[str] = []
    progress = PipProgress()
    with log_path.open("a", encoding="utf-8") as log:
        child = subprocess.Popen(
            command + args,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            cwd=str(ROOT),
        )
        try:
            for line in child.stdout or ():
                if not line.startswith("Progress "):
                    log.write(line)
                    lines.append(line)
                progress.feed(line)
        finally:
            if child.poll() is None:
                child.terminate()
            child.wait()
            progress.close()
    if child.returncode != 0:
        print("".join(lines[-LOG_TAIL_LINES:]), end="", flush=True)
        raise BootstrapError(
            "pip could not install the packages (its last lines are above, all of them in "
            f"{log_path}); check the network and the free disk space, then run again"
        )


def make_venv(venv_dir: Path) -> None:
    """Makes an empty .venv with pip, in place of whatever stands there."""
    if venv_dir.is_symlink() or venv_dir.is_file():
        raise BootstrapError(f"{venv_dir} is not a folder; remove it and run again")
    if venv_dir.exists():
        shutil.rmtree(str(venv_dir))
    try:
        venv.create(str(venv_dir), with_pip=True)
    except subprocess.CalledProcessError:
        shutil.rmtree(str(venv_dir), ignore_errors=True)
        raise BootstrapError(
            "this Python cannot make a .venv with pip; on Debian or Ubuntu run: "
            "sudo apt-get install python{}.{}-venv".format(*sys.version_info[:2])
        ) from None
    except OSError as error:
        raise BootstrapError(f"cannot make {venv_dir}: {error}") from error


def install(root: Path, dev: bool) -> None:
    """Makes .venv complete for this checkout and stamps it."""
    started = time.monotonic()
    venv_dir = root / ".venv"
    python = venv_python(venv_dir)
    dev = dev or bool(read_stamp(venv_dir).get("dev"))
    if not succeeds([str(python), "-m", "pip", "--version"]):
        say("making " + str(venv_dir))
        make_venv(venv_dir)
    stamp_path = venv_dir / "bootstrap.json"
    stamp_path.unlink(missing_ok=True)
    log_path = venv_dir / "bootstrap.log"
    pins = ["-c", str(root / "constraints.txt")]
    say("installing pip and setuptools (1 of 2)")
    pip_install(python, [*pins, "--upgrade", "pip", "setuptools"], log_path)
    what = "sdv2-host, PyTorch and the test tools" if dev else "sdv2-host and PyTorch"
    # On Linux PyPI's PyTorch is the CUDA build, whether there is an NVIDIA GPU or not.
    size = "up to 3 GB" if sys.platform == "linux" else "about 0.3 GB"
    say(f"installing {what} (2 of 2); the first time this downloads {size}")
    # No build isolation: setuptools is there already, at its pinned version.
    project = ["--no-build-isolation", "-e", "{}{}".format(root, "[dev]" if dev else "")]
    pip_install(python, [*pins, "--progress-bar", "raw", *project], log_path)
    if not is_healthy(python, dev):
        raise BootstrapError(
            f"the install in {venv_dir} is not complete; remove {venv_dir} and run again"
        )
    stamp_path.write_text(json.dumps({"digest": install_digest(root), "dev": dev}), "utf-8")
    say(f"ready after {time.monotonic() - started:.0f} s")


def check_commands(python: Path) -> list[list[str]]:
    """The checks of `test` that run nothing of ours, in order; each takes one core."""
    module = [str(python), "-m"]
    return [
        [*module, "ruff", "check", "."],
        [*module, "ruff", "format", "--check", "."],
        [*module, "mypy"],
        [*module, "mypy", "-p", "tests", "--cache-dir", ".mypy_cache/tests"],
        [*module, "mypy", "--platform", "win32", "--cache-dir", ".mypy_cache/win32"],
        [*module, "mypy", "--platform", "darwin", "--cache-dir", ".mypy_cache/darwin"],
    ]


def pytest_commands(python: Path, pytest_args: list[str]) -> list[list[str]]:
    """The passes of pytest, in order.

    The whole suite is three: what is pure side by side, what talks to other processes file by file
    side by side, then what of that needs the machine to itself. With an argument that chooses tests
    (a path, -k, --lf) or asks for one process, it is one, as typed.
    """
    pytest = [str(python), "-m", "pytest"]
    if not all(arg.startswith(ALIKE_IN_ALL) for arg in pytest_args):
        return [[*pytest, *pytest_args]]
    workers = ["-n", "logical", "--maxprocesses", str(MAX_WORKERS), "--dist"]
    return [
        [*pytest, "--part", "pure", *workers, "worksteal", *pytest_args],
        [*pytest, "--part", "live", *workers, "loadfile", *pytest_args],
        [*pytest, "--part", "alone", *pytest_args],
    ]


def run_checks(root: Path, commands: list[list[str]]) -> list[str]:
    """Runs the checks two at a time and prints what each said, in order; those that failed."""
    failed = []
    quietly = partial(
        subprocess.run, cwd=root, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with ThreadPoolExecutor(2) as pool:
        for command, done in zip(commands, pool.map(quietly, commands), strict=True):
            said = " ".join(command[2:])
            say("ran " + said)
            # As it came: a console that cannot show a sign of it must not stop the tests.
            sys.stdout.buffer.write(done.stdout)
            sys.stdout.buffer.flush()
            if done.returncode != 0:
                failed.append(said)
    return failed


def run_tests(root: Path, python: Path, pytest_args: list[str]) -> int:
    """Runs every check even after one failed, pytest last; 0 when all passed."""
    failed = run_checks(root, check_commands(python))
    for command in pytest_commands(python, pytest_args):
        say("running " + " ".join(command[2:]))
        # Each of several at work has a core to itself; torch takes all, else.
        alone = {"OMP_NUM_THREADS": "1"} if "-n" in command else {}
        done = subprocess.run(command, cwd=str(root), check=False, env={**os.environ, **alone})
        if done.returncode != 0:
            failed.append(" ".join(command[2:5]))
    if failed:
        say("failed: " + ", ".join(failed))
    return 1 if failed else 0


def run_host(python: Path, args: list[str]) -> int:
    """Becomes `sdv2-host ARGS`; on Windows, where nothing can be become, runs it and waits."""
    command = [str(python), "-m", "sdv2_host", *args]
    if os.name != "nt":
        os.execv(command[0], command)
    child = subprocess.Popen(command)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue  # the child got the same Ctrl-C and is stopping


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if argv else 2
    check_python(sys.version_info[:2], find_pythons)
    is_test = argv[0] == "test"
    if not is_ready(ROOT, dev=is_test):
        install(ROOT, dev=is_test)
    python = venv_python(ROOT / ".venv")
    if is_test:
        return run_tests(ROOT, python, argv[1:])
    say("starting sdv2-host " + " ".join(argv))
    return run_host(python, argv)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BootstrapError as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nbootstrap: stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
