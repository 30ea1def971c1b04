"""Python and the packages that sdv2-host is made of, against what it needs."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import sdv2_host
from sdv2_host.checkup.finding import Finding, Subject

GROUP = "Software"
DEVELOPERS = "dev"
"""The extra that is for developers alone."""


def installed_version(package: str) -> str | None:
    """None = it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_software() -> list[Finding]:
    """Of this Python."""
    ours = metadata.metadata("sdv2-host")
    needs, extras = ours.get_all("Requires-Dist", []), ours.get_all("Provides-Extra", [])
    return [
        python_finding(platform.python_version(), ours["Requires-Python"]),
        *package_findings(needs, extras, installed_version),
    ]


def python_finding(version: str, needed: str) -> Finding:
    """Of the Python this runs in."""
    subject = Subject(GROUP, "Python")
    seen = f"{version}, {sys.platform}, sdv2-host {sdv2_host.__version__}"
    if SpecifierSet(needed).contains(version, prereleases=True):
        return subject.ok(seen)
    return subject.trouble(
        f"{seen}; needed is {needed}",
        "packages may be missing for it, or behave otherwise",
        "install Python 3.11 and run: python3.11 bootstrap.py",
    )


def package_findings(
    needs: Iterable[str], extras: Sequence[str], version_of: Callable[[str], str | None]
) -> Iterator[Finding]:
    """`needs` and names of `extras` as a package's metadata states them."""
    subject = Subject(GROUP, "packages")
    needed = [Requirement(one) for one in needs]
    required = [one for one in needed if _is_for(one, "")]
    wrong = [text for one in required if (text := _fault(one, version_of))]
    if wrong:
        yield subject.trouble(
            "; ".join(wrong),
            "the show may not start, or fail where the package is first used",
            "run: python bootstrap.py (or pip install -U sdv2-host)",
        )
    else:
        yield subject.ok(f"all {len(required)} needed are there in versions that fit")
    for extra in extras:
        ones = [one for one in needed if _is_for(one, extra) and one not in required]
        if extra == DEVELOPERS or not ones:
            continue
        missing = [text for one in ones if (text := _fault(one, version_of))]
        here = ", ".join(f"{one.name} {version_of(one.name)}" for one in ones)
        yield Subject(GROUP, f"extra '{extra}'").ok(
            f"not installed ({'; '.join(missing)}); for it: pip install 'sdv2-host[{extra}]'"
            if missing
            else here
        )


def _is_for(one: Requirement, extra: str) -> bool:
    """Whether it is needed here where that extra is wished for; '' = none is."""
    return one.marker is None or one.marker.evaluate({"extra": extra})


def _fault(one: Requirement, version_of: Callable[[str], str | None]) -> str:
    version = version_of(one.name)
    if version is None:
        return f"{one.name} is missing"
    if not one.specifier.contains(version, prereleases=True):
        return f"{one.name} is {version}, needed is {one.specifier}"
    return ""
