"""What the stand-in raises."""

from __future__ import annotations


class tdError(Exception):
    """TouchDesigner refuses: what it was asked for and what it takes."""


class NotModelled(Exception):
    """The stand-in does not know what TouchDesigner would do; it never guesses in silence."""
