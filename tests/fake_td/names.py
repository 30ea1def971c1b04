"""Names of operators and custom parameters, and the patterns that match them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from tests.fake_td.errors import tdError

OPERATOR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PAR_NAME = re.compile(r"[A-Z][a-z0-9]*")
TRAILING_DIGITS = re.compile(r"(.*?)(\d*)")


def check_operator_name(name: str) -> None:
    """Letters, digits and underscores, the first not a digit."""
    if not isinstance(name, str) or not OPERATOR_NAME.fullmatch(name):
        raise tdError(f"operator name {name!r}: letters, digits and underscores only")


def free_name(name: str, taken: Iterable[str]) -> str:
    """`name`, or the next numbered one if it is in use (COMP_Class, create)."""
    used = set(taken)
    if name not in used:
        return name
    match = TRAILING_DIGITS.fullmatch(name)
    assert match is not None, "the pattern matches every string"
    base, number = match[1], int(match[2] or 0) + 1
    while f"{base}{number}" in used:
        number += 1
    return f"{base}{number}"


def check_par_name(name: str) -> None:
    """One upper-case letter, then lower-case letters and digits (Custom_Parameters)."""
    if not isinstance(name, str) or not PAR_NAME.fullmatch(name):
        raise tdError(
            f"custom parameter name {name!r}: expected one upper-case letter,"
            " then lower-case letters and digits only"
        )


def matches(name: str, patterns: str) -> bool:
    """`name` fits one of the patterns, parted by blanks; ^ takes out (Pattern_Matching)."""
    kept = False
    for pattern in patterns.split():
        if pattern.startswith("^"):
            kept = kept and not fnmatchcase(name, pattern[1:])
        else:
            kept = kept or fnmatchcase(name, pattern)
    return kept
