"""The file with the token of a ring: made once, read whoever wrote it, refused if it is easy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sdv2_host.errors import ConfigError
from sdv2_host.stages.join_token import MAX_CHARS, MIN_CHARS, make_token, read_token

TOKEN = "x" * MIN_CHARS


def test_a_token_that_was_made_is_read_and_never_the_same(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "other"]
    for path in paths:
        make_token(path)

    first, second = map(read_token, paths)

    assert min(len(first), len(second)) >= MIN_CHARS
    assert first != second


@pytest.mark.skipif(sys.platform == "win32", reason="no such modes")
def test_nobody_else_can_read_a_token_that_was_made(tmp_path: Path) -> None:
    make_token(tmp_path / "token")

    assert (tmp_path / "token").stat().st_mode & 0o077 == 0


def test_a_token_is_not_made_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("dear", encoding="utf-8")

    with pytest.raises(ConfigError, match="cannot write a token"):
        make_token(path)

    assert path.read_text(encoding="utf-8") == "dear"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["", "\n", " \r\n"])
def test_a_token_is_the_same_whatever_editor_saved_it(
    tmp_path: Path, encoding: str, end: str
) -> None:
    path = tmp_path / "token"
    path.write_bytes((TOKEN + end).encode(encoding))

    assert read_token(path) == TOKEN


@pytest.mark.parametrize("num_chars", [0, MIN_CHARS - 1, MAX_CHARS + 1])
def test_a_token_of_no_good_length_is_refused(tmp_path: Path, num_chars: int) -> None:
    path = tmp_path / "token"
    path.write_text("x" * num_chars, encoding="utf-8")

    with pytest.raises(ConfigError, match=f"has {num_chars} characters, expected {MIN_CHARS} to"):
        read_token(path)


@pytest.mark.parametrize("content", [TOKEN.encode("utf-16"), None])
def test_a_file_that_is_no_text_or_not_there_is_named(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"cannot read the token .*--make-token FILE writes one"):
        read_token(path)
