"""Which engine the parameters ask for: its size, and what it has caches for."""

from __future__ import annotations

from collections.abc import Callable

from sdv2_host.config import Config
from sdv2_host.control.console import Console
from sdv2_host.params import Params, Patch


class EngineDesk:
    """Fields, per process: the configuration as started."""

    def __init__(
        self,
        config: Config,
        console: Console,
        reconfigure: Callable[[Config], None],
        on_problem: Callable[[str, str], None],
    ) -> None:
        """`reconfigure` makes an engine with a configuration take over; `on_problem` is told
        (origin, what of the parameters is not followed; '' = all of it is)."""
        self._config = config
        self._console = console
        self._reconfigure = reconfigure
        self._on_problem = on_problem

    def allowed(self, patch: Patch) -> Patch:
        """The patch with no more steps than this host keeps caches for."""
        most = self._config.num_step_rows
        steps = patch.get("steps")
        if steps is None:
            return patch
        if int(steps) <= most:
            self._on_problem("steps", "")
            return patch
        self._on_problem(
            "steps",
            f"{steps} steps: this host keeps caches for {most}, which it uses; start it with "
            f"--max-steps {steps}",
        )
        return {**patch, "steps": most}

    def follow(self, before: Params, after: Params) -> None:
        """An engine of the size that the parameters ask for now will take over."""
        if (after.width, after.height) == (before.width, before.height):
            return
        width, height = after.width or self._config.width, after.height or self._config.height
        self._reconfigure(self._config.model_copy(update={"width": width, "height": height}))

    def refused(self, reason: str) -> None:
        """No engine of the size asked for can start: the size is that of the start again."""
        self._on_problem("size", f"no engine of that size: {reason}")
        self._console.set({"width": 0, "height": 0}, "host")
