"""The guide says what the code says: its sentences, its headings, its members."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from sdv2_host.surfaces.touch_row import Row
from sdv2_host.surfaces.touchdesigner import touch_pages
from tests.touchdesigner.touch_stage import TouchStage

ROOT = Path(__file__).parent.parent.parent
TOUCH = ROOT / "plugins" / "touchdesigner"
GUIDE = (TOUCH / "README.md").read_text("utf-8")
HEADINGS = re.findall(r"^#+ (.+)$", GUIDE, re.MULTILINE)
ROWS = [row for rows in touch_pages().values() for row in rows]
SPEAKERS = [
    *(ROOT / "sdv2_host" / "client").glob("*.py"),
    *(TOUCH / "sdv2_touch").glob("*.py"),
    *(TOUCH / "dats").glob("*.py"),
]


def section(heading: str) -> str:
    """What stands below the heading, up to the next of its kind."""
    return GUIDE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def texts_of(path: Path) -> list[str]:
    """The texts in a file, with an ellipsis for each value that is put in."""
    texts = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [one.value if isinstance(one, ast.Constant) else "…" for one in node.values]
            texts.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return texts


SAID = [text for path in SPEAKERS for text in texts_of(path)]
QUOTED = [
    quoted
    for line in section("When something is wrong").splitlines()
    if line.startswith("| *")
    for quoted in re.findall(r"\*([^*]+)\*", line.split("|")[1])
]


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_sentence_of_the_troubleshooting_is_one_of_the_code(quoted: str) -> None:
    assert [text for text in SAID if quoted in text]


def test_the_troubleshooting_quotes_many_sentences() -> None:
    assert len(QUOTED) > 20


@pytest.mark.parametrize("row", ROWS, ids=[row.par for row in ROWS])
def test_the_help_of_a_parameter_says_where_to_read_on(row: Row) -> None:
    address = re.search(r" /sdv2/[a-z_/]+$", row.help)
    guide = re.search(r" Guide: (.+)\.$", row.help)

    assert address or (guide and guide[1] in HEADINGS), row.help


def test_the_public_members_are_those_of_the_component(stage: TouchStage) -> None:
    made = type(stage.comp.ext.StreamDiffusion)
    public = {name for name in vars(made) if name[0].isupper()}

    told = set(re.findall(r"`([A-Z][A-Za-z]+)(?:\(|`)", section("Python")))

    assert told == public


def test_all_channels_are_told(stage: TouchStage) -> None:
    stage.until(lambda: stage.comp.op("metrics").numChans, "shown")
    channels = [chan.name for chan in stage.comp.op("metrics").chans()]

    assert [name for name in channels if f"`{name}`" not in section("Play it")] == []


def test_the_callbacks_are_those_of_the_dat() -> None:
    made = ast.parse((TOUCH / "dats" / "callbacks.py").read_text("utf-8")).body
    functions = {
        f"{one.name}({', '.join(arg.arg for arg in one.args.args)})"
        for one in made
        if isinstance(one, ast.FunctionDef)
    }

    assert {told for told in re.findall(r"`(on\w+\([^)]*\))`", section("Callbacks"))} == functions


def test_links_within_the_guide_lead_somewhere() -> None:
    anchors = {re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in HEADINGS}

    assert set(re.findall(r"\]\(#([^)]+)\)", GUIDE)) <= anchors
    assert all((TOUCH / one).exists() for one in re.findall(r"\]\(([^#)]+)\)", GUIDE))
