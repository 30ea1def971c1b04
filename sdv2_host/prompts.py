"""What a text encoder gets to see of a prompt. No torch: daemon and text process agree by this."""

from __future__ import annotations

import html

import ftfy


def clean_prompt(text: str) -> str:
    """The prompt as Wan 2.1 cleans it: broken characters and HTML entities repaired, one line.

    Not to be applied twice: what was escaped three times would come out another text.

    Source: wan/modules/tokenizers.py, basic_clean and whitespace_clean.
    """
    unescaped = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(unescaped.split())
