"""What the package imports is what it declares, and the audit of it cannot be fooled by silence."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from importlib import metadata
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.package_trees import PATHS, imports_of

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IMPORTED_AS = {
    "pillow": "PIL",
    "python-osc": "pythonosc",
    "huggingface-hub": "huggingface_hub",
    "obs-websocket-py": "obswebsocket",
    "websocket-client": "websocket",
}
"""Where a package is not imported under its own name."""
PARTS_OF = {"pydantic_core": "pydantic", "tokenizers": "transformers"}
"""Modules that come with a package which is declared."""


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~\[; ]", one)[0].lower() for one in requirements}


def test_all_that_is_imported_is_declared_and_all_that_is_declared_is_imported() -> None:
    extras = PROJECT["optional-dependencies"]
    declared = names(PROJECT["dependencies"])
    for extra in ("camera", "discovery", "obs"):
        declared |= names(extras[extra])
    wanted = {IMPORTED_AS.get(name, name) for name in declared}

    imported = {name.partition(".")[0] for module in PATHS for name in imports_of(module)}
    used = imported - set(sys.stdlib_module_names) - {"sdv2_host"}

    assert used - wanted == set(PARTS_OF)
    assert {name for name, whole in PARTS_OF.items() if not _requires(whole, name)} == set()
    assert wanted - used == set()


def _requires(package: str, part: str) -> bool:
    needed = names(metadata.requires(package) or [])
    return part.replace("_", "-") in {name.replace("_", "-") for name in needed}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    loader = SourceFileLoader("audit", str(ROOT / ".ci" / "audit"))
    spec = importlib.util.spec_from_loader("audit", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


REPORT: dict[str, Any] = {
    "dependencies": [
        {"name": "aiohttp", "version": "3.9.0", "vulns": [
            {"id": "CVE-2024-23334", "fix_versions": ["3.9.2"], "description": "..."},
            {"id": "GHSA-x", "fix_versions": [], "description": "..."}]},
        {"name": "numpy", "version": "2.0", "vulns": []},
        {"name": "torch", "skip_reason": "not found on PyPI"},
    ],
    "fixes": [],
}  # fmt: skip


def test_an_audit_names_package_vulnerability_and_the_version_that_has_none(
    audit: ModuleType,
) -> None:
    assert audit.found(REPORT) == [
        "aiohttp 3.9.0: CVE-2024-23334, fixed in 3.9.2",
        "aiohttp 3.9.0: GHSA-x, fixed in no version yet",
    ]
    assert audit.skipped(REPORT) == ["torch"]


@pytest.mark.parametrize(
    ("answers", "code", "says"),
    [
        ([None, None], 0, "skipped: no advisory service reachable"),
        ([{"dependencies": []}, None], 0, "skipped: no advisory service reachable"),
        ([REPORT, {"dependencies": REPORT["dependencies"][1:]}], 0, "no known vulnerability"),
        ([REPORT, REPORT], 1, "CVE-2024-23334"),
    ],
)
def test_silence_of_the_service_is_not_taken_for_a_clean_bill(
    audit: ModuleType,
    answers: list[Any],
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    left = list(answers)
    monkeypatch.setattr(audit, "tool", lambda: Path("pip-audit"))
    monkeypatch.setattr(audit, "installed", lambda python: ["aiohttp==3.9.0"])
    monkeypatch.setattr(audit, "ask", lambda program, service, pins: left.pop(0))

    assert audit.main() == code

    assert says in capsys.readouterr().out


def test_an_audit_says_that_its_tool_cannot_be_installed(
    audit: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(audit, "FOLDER", tmp_path / "file" / "audit")
    (tmp_path / "file").touch()

    assert audit.main() == 0

    assert "skipped: pip-audit cannot be installed" in capsys.readouterr().out


def test_every_test_that_the_threat_model_names_is_there() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)

    missing = [
        f"{file}::{test}"
        for file, test in named
        if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]

    assert len(named) > 15
    assert missing == []
