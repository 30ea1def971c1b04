"""The safe engine: what makes the pictures in place of one that has died too often."""

from __future__ import annotations

from sdv2_host.config import Config
from sdv2_host.params import Params

RETRY = "/sdv2/engine/retry"


class StandIn(Config):
    """Of the safe engine, passthrough: the input as it is, at the size of the engine that it
    stands in for, so that whoever takes the output sees no change of size.

    Equal to no `Config`: passthrough at a person's wish is another thing.
    """

    def sized(self, params: Params) -> Params:
        """Which ask for that size."""
        return params.model_copy(update={"width": self.width, "height": self.height})


def stand_in_for(config: Config) -> StandIn:
    return StandIn.model_validate({**config.model_dump(), "engine": "passthrough"})


def is_safe_engine(config: Config) -> bool:
    """There is none safer."""
    return config.engine == "passthrough"
