"""bootstrap.py: what it decides, without installing anything."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from types import ModuleType

import pytest

from tests.parts import ALONE_FILES, BUSY_FILES, TESTS, part_of

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("bootstrap.py", "constraints.txt", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def stamp(checkout: Path, bootstrap: ModuleType, dev: bool) -> None:
    (checkout / ".venv").mkdir(exist_ok=True)
    content = {"digest": bootstrap.install_digest(checkout), "dev": dev}
    (checkout / ".venv" / "bootstrap.json").write_text(json.dumps(content))


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_tested_pythons_are_accepted(bootstrap: ModuleType, version: tuple[int, int]) -> None:
    bootstrap.check_python(version, lambda: pytest.fail("looked for another Python"))


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (3, 14)])
def test_other_pythons_are_refused_with_what_to_do(
    bootstrap: ModuleType, version: tuple[int, int]
) -> None:
    with pytest.raises(bootstrap.BootstrapError, match=r"^[^\n]*; run: python3\.12 bootstrap\.py$"):
        bootstrap.check_python(version, lambda: ["python3.12", "python3.11"])
    with pytest.raises(bootstrap.BootstrapError, match=r"^[^\n]*; install Python 3\.13 from"):
        bootstrap.check_python(version, list)


def test_a_changed_pin_asks_for_a_new_install(bootstrap: ModuleType, checkout: Path) -> None:
    before = bootstrap.install_digest(checkout)
    with (checkout / "constraints.txt").open("a") as constraints:
        constraints.write("more==1\n")

    assert bootstrap.install_digest(checkout) != before


def test_a_moved_checkout_asks_for_a_new_install(
    bootstrap: ModuleType, checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = bootstrap.install_digest(checkout)
    moved = checkout.rename(tmp_path_factory.mktemp("elsewhere") / "checkout")

    assert bootstrap.install_digest(moved) != before


@pytest.mark.parametrize("content", [None, "", "[1]", "{", '{"digest": "old"}'])
def test_a_checkout_without_a_valid_stamp_is_not_ready(
    bootstrap: ModuleType, checkout: Path, content: str | None
) -> None:
    (checkout / ".venv").mkdir()
    if content is not None:
        (checkout / ".venv" / "bootstrap.json").write_text(content)

    assert not bootstrap.is_ready(checkout, dev=False)


def test_a_stamped_venv_that_does_not_start_is_not_ready(
    bootstrap: ModuleType, checkout: Path
) -> None:
    stamp(checkout, bootstrap, dev=True)

    assert not bootstrap.is_ready(checkout, dev=False)


def test_a_stamped_venv_that_lost_a_package_is_not_ready(
    bootstrap: ModuleType, checkout: Path
) -> None:
    venv.create(checkout / ".venv", with_pip=False)
    stamp(checkout, bootstrap, dev=False)

    assert not bootstrap.is_ready(checkout, dev=False)


def test_tests_need_the_test_tools(bootstrap: ModuleType, checkout: Path) -> None:
    stamp(checkout, bootstrap, dev=False)

    assert not bootstrap.is_ready(checkout, dev=True)


def test_a_file_called_venv_is_one_line(bootstrap: ModuleType, checkout: Path) -> None:
    (checkout / ".venv").write_text("")

    with pytest.raises(bootstrap.BootstrapError, match="is not a folder; remove it"):
        bootstrap.make_venv(checkout / ".venv")


def test_types_are_checked_for_each_system(bootstrap: ModuleType) -> None:
    commands = bootstrap.check_commands(Path("py"))

    assert [command[2] for command in commands] == ["ruff"] * 2 + ["mypy"] * 4
    assert [command[4] for command in commands[-2:]] == ["win32", "darwin"]


@pytest.mark.parametrize(
    "chosen",
    [
        ["tests/ipc", "-x"],
        ["-k", "ring"],
        ["--slow", "tests/ipc"],
        ["--lf"],
        ["--part=pure"],
        ["--slow", "--junitxml=all.xml"],
        ["--pdb"],
    ],
)
def test_chosen_tests_run_in_one_pass_as_typed(bootstrap: ModuleType, chosen: list[str]) -> None:
    assert bootstrap.pytest_commands(Path("py"), chosen) == [["py", "-m", "pytest", *chosen]]


@pytest.mark.parametrize("options", [[], ["--slow", "--durations=30"]])
def test_the_whole_suite_is_three_passes_with_the_same_options(
    bootstrap: ModuleType, options: list[str]
) -> None:
    passes = bootstrap.pytest_commands(Path("py"), options)

    assert [one[3:5] for one in passes] == [
        ["--part", "pure"],
        ["--part", "live"],
        ["--part", "alone"],
    ]
    assert ["-n" in one for one in passes] == [True, True, False]
    assert all(one[len(one) - len(options) :] == options for one in passes)


def test_every_test_file_is_in_the_pass_that_it_needs() -> None:
    part = {path.relative_to(TESTS).as_posix(): part_of(path) for path in TESTS.rglob("test_*.py")}

    pure = {"stream/test_slo.py", "gpu/test_dry_run.py", *BUSY_FILES}
    alone = {"obs/test_source.py", "ring/test_live_ring.py", *ALONE_FILES}
    assert {part[name] for name in pure} == {"pure"}
    assert {part[name] for name in alone} == {"alone"}
    assert {part[name] for name in ("host/test_daemon.py", "test_cli.py")} == {"live"}


def test_a_check_that_fails_is_named_and_hides_none_after_it(
    bootstrap: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    says = [sys.executable, "-c"]
    commands = [[*says, "print('one'); raise SystemExit(1)"], [*says, "print('two')"]]

    failed = bootstrap.run_checks(tmp_path, commands)

    assert failed == ["print('one'); raise SystemExit(1)"]
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("bootstrap")] == ["one", "two"]


def test_what_a_check_says_stops_nothing_where_the_console_cannot_show_it(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="cp1252"))
    says = "import sys; sys.stdout.buffer.write('\\u2192'.encode())"

    failed = bootstrap.run_checks(tmp_path, [[sys.executable, "-c", says]])

    assert failed == []
    assert "\u2192".encode() in shown.getvalue()


def test_pip_s_output_becomes_few_lines(
    bootstrap: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = bootstrap.PipProgress()
    for n in range(500):
        progress.feed(f"Collecting package{n}\n")
        progress.feed(f"Progress {n} of 500\n")
        progress.feed(f"Requirement already satisfied: package{n}\n")
    progress.feed("  Downloading torch-2.13.0-cp311-linux.whl (190.5 MB)\n")
    progress.feed("Installing collected packages: a, b, c\n")
    progress.close()

    assert capsys.readouterr().out.splitlines() == [
        "  Downloading torch-2.13.0-cp311-linux.whl (190.5 MB)",
        "  unpacking 3 packages",
    ]


def test_without_arguments_it_says_how_to_use_it() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bootstrap.py")], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "python bootstrap.py demo" in done.stdout


def test_every_direct_dependency_is_pinned() -> None:
    pins = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {requirement.split(">")[0].split("=")[0].strip() for requirement in wanted}

    assert names <= pins
