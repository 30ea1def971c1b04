"""The plugin's texts: every one that the code asks for, in every language, with the same gaps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "plugins" / "obs"
LOCALES = sorted((PLUGIN / "data" / "locale").glob("*.ini"))
KEY = re.compile(r'"([A-Z][A-Za-z]+(?:\.[A-Z][A-Za-z]+)?)"')


def texts(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def keys_in_code() -> set[str]:
    """What stands where the code names a text; labels of lists have a long description as well."""
    code = "".join(path.read_text() for path in (PLUGIN / "src").glob("*.c"))
    asked = re.findall(r"obs_module_text\(([^;]*?)\)", code)
    asked += re.findall(r"return \"[A-Z][A-Za-z]+\.[A-Z][A-Za-z]+\";", code)
    asked += re.findall(r"\.labels = [^}]*}", code)
    labels = re.findall(r'\.label = "([A-Za-z]+)"', code)
    found = set(KEY.findall(" ".join(asked)))
    return found | set(labels) | {f"{label}.Long" for label in labels}


def test_there_is_more_than_one_language() -> None:
    assert [path.stem for path in LOCALES] == ["de-DE", "en-US"]


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.stem)
def test_every_text_is_there_and_none_is_left_over(path: Path) -> None:
    assert set(texts(path)) == keys_in_code()


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.stem)
def test_translations_have_the_same_gaps(path: Path) -> None:
    english = texts(PLUGIN / "data" / "locale" / "en-US.ini")
    gaps = {key: set(re.findall(r"{[a-z]+}", text)) for key, text in texts(path).items()}
    assert gaps == {key: set(re.findall(r"{[a-z]+}", text)) for key, text in english.items()}
