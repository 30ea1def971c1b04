"""Redaction: takes secrets, names and prompts out of texts that leave this computer. Pure.

Two nets. What is known to be secret here (tokens, passwords, prompts, this user's name and home)
is replaced wherever it stands, however it is escaped. What looks like a secret is replaced too,
known or not: too much rather than too little, since a reader can do without it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

LEAST_CHARS = 3
"""A shorter one stands in every text."""
WORD_CHARS = 6
"""A shorter one is replaced only where it is a word of its own."""
SECRET, PROMPT, USER, HOME, MACHINE, MAIL = "secret", "prompt", "user", "home", "machine", "mail"
MARKS = {SECRET: "<S>", PROMPT: "<P>", USER: "<U>", HOME: "<~>", MACHINE: "<M>", MAIL: "<@>"}
"""What stands in the place of each kind. Not words: one could be somebody's password."""


class Known(NamedTuple):
    """Something of this computer that must not leave it."""

    text: str
    kind: str


_KEY_WORDS = (
    r"pass(?:word|wd|phrase|code)?|passwort|pwd|token|secret|credentials?|authorization|cookie|"
    r"[a-z]*[_ -]?key|sig(?:nature)?|session[_ -]?id|pin"
)
_SECRET_KEY = re.compile(rf"(?:.*[_. -])?(?:{_KEY_WORDS})s?", re.IGNORECASE)
_NO_SECRETS = frozenset(("no_token", "wrong_token"))
"""Counts of refusals."""
_PROMPT_KEYS = frozenset(("prompt", "prompt_b", "encoding"))
_KEEP = r"\g<keep>"
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    # Words that say that a secret follows. What is a mark already is left.
    (SECRET, re.compile(r"(?P<keep>\b(?:bearer|basic)\s+)[\w.+/=~-]{6,}", re.IGNORECASE)),
    (
        SECRET,
        re.compile(
            rf"(?P<keep>(?<![a-z])(?:[a-z]+_)*(?:{_KEY_WORDS})[\"']?\s*(?:[:=]|\bis\b|\bwas\b)\s*)"
            r"(?!<)(?:\"(?:\\.|[^\"\\])*\"|'[^']*'|[^\s,;&\"'<]+)",
            re.IGNORECASE,
        ),
    ),
    # Addresses that carry one: of streams, with a name in front, with a question behind.
    (
        SECRET,
        re.compile(r"(?P<keep>\b(?:rtmps?|srt|rist|whip)://)[^\s\"'<>]+", re.IGNORECASE),
    ),
    (SECRET, re.compile(r"(?P<keep>\b[a-z][a-z0-9+.-]*://)[^\s/@\"']+(?=@)", re.IGNORECASE)),
    (
        SECRET,
        re.compile(r"(?P<keep>\bhttps?://[^\s?\"'<>]+\?)[^\s\"'<>]+", re.IGNORECASE),
    ),
    # Shapes: keys of services, YouTube's groups of four, and anything long and random.
    (
        SECRET,
        re.compile(
            r"(?P<keep>)\b(?:hf_|gh[opsu]_|github_pat_|glpat-|sk-|xox[abprs]-|AKIA|AIza|live_|eyJ)"
            r"[\w.-]{8,}"
        ),
    ),
    (SECRET, re.compile(r"(?P<keep>)\b(?:[a-z0-9]{4}-){3,}[a-z0-9]{4}\b", re.IGNORECASE)),
    (
        SECRET,
        re.compile(r"(?P<keep>)(?<!\w)(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{20,}(?!\w)"),
    ),
    (
        SECRET,
        re.compile(
            r"(?P<keep>)(?<![\w.+-])(?=[\w+-]*\d)(?=[\w+-]*[a-z])(?=[\w+-]*[A-Z])[\w+-]{32,}={0,2}"
        ),
    ),
    (MAIL, re.compile(r"(?P<keep>)[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    (USER, re.compile(r"(?P<keep>(?:/home/|/Users/|\\Users\\+))[^/\\\s\"'<>:]+")),
)
_PROMPT_SAID = re.compile(
    r"(?P<keep>--prompt[ =](?=[^\s\"'<])|\bprompt(?:_b)?\b[^\"'\n]{0,24}(?=[\"']))"
    r"(?:\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*'|[^\s\"']+)",
    re.IGNORECASE,
)


class Redaction:
    """Fields, per bundle: what is known; how much of each kind was taken out so far."""

    def __init__(self, known: Iterable[Known], *, keeps_prompts: bool) -> None:
        self.removed: Counter[str] = Counter()
        self._keeps_prompts = keeps_prompts
        wanted = {one for one in known if len(one.text.strip()) >= LEAST_CHARS}
        if keeps_prompts:
            wanted = {one for one in wanted if one.kind != PROMPT}
        self._known = sorted(wanted, key=lambda one: (-len(one.text), one.kind))
        self._literals = [(one.kind, _literal(one)) for one in self._known]

    def text(self, text: str) -> str:
        """Without what must not leave; the same again for what was cleaned before."""
        for kind, literal in self._literals:
            text = self._replaced(kind, literal, MARKS[kind], text)
        if not self._keeps_prompts:
            text = self._replaced(PROMPT, _PROMPT_SAID, _KEEP + MARKS[PROMPT], text)
        for kind, pattern in _PATTERNS:
            text = self._replaced(kind, pattern, _KEEP + MARKS[kind], text)
        return text

    def json(self, content: Any, key: str = "") -> Any:
        """The same of what JSON can hold, keys included; whatever stands under the name of a
        secret is gone, whatever it is."""
        kind = self._kind_of_key(key)
        if kind and content and not isinstance(content, bool):
            self.removed[kind] += 1
            return MARKS[kind]
        if isinstance(content, dict):
            items = [(str(one), value) for one, value in content.items()]
            return {self.text(one): self.json(value, one) for one, value in items}
        if isinstance(content, list | tuple):
            return [self.json(one) for one in content]
        return self.text(content) if isinstance(content, str) else content

    def _kind_of_key(self, key: str) -> str:
        """What stands under it and must go; '' = it may stay, once it is cleaned."""
        if _SECRET_KEY.fullmatch(key) and key not in _NO_SECRETS:
            return SECRET
        is_prompt = key.removeprefix("/sdv2/").replace("/", "_") in _PROMPT_KEYS
        return PROMPT if is_prompt and not self._keeps_prompts else ""

    def left_in(self, text: str) -> list[str]:
        """Kinds of what is known and stands in the text nevertheless."""
        return [kind for kind, literal in self._literals if literal.search(text)]

    def _replaced(self, kind: str, pattern: re.Pattern[str], by: str, text: str) -> str:
        text, count = pattern.subn(by, text)
        self.removed[kind] += count
        return text


def _literal(one: Known) -> re.Pattern[str]:
    """Finds it as it is and as it is written in JSON, a URL or a path of either slash."""
    spellings = sorted(set(_spellings(one.text.strip())), key=len, reverse=True)
    found = "|".join(re.escape(spelling) for spelling in spellings)
    is_word = one.kind in (USER, MACHINE) or len(one.text) < WORD_CHARS
    if is_word:
        found = rf"(?<![A-Za-z0-9])(?:{found})(?![A-Za-z0-9])"
    return re.compile(found, re.IGNORECASE)


def _spellings(text: str) -> Iterator[str]:
    yield text
    escaped = json.dumps(text)[1:-1]
    yield escaped
    yield json.dumps(escaped)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield quote(text, safe="")
    yield quote_plus(text)
    yield quote(text)
    yield text.replace("\\", "/")
    yield repr(text)[1:-1]
