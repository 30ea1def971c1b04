"""A stand-in for TouchDesigner."""

from tests.fake_td.errors import NotModelled, tdError
from tests.fake_td.session import Failure, TouchDesigner

__all__ = ["Failure", "NotModelled", "TouchDesigner", "tdError"]
