"""RoutePlanner: from the devices that are there to the route of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch

from sdv2_host.config import Config
from sdv2_host.stages.choice import Device, choose_route, work_of
from sdv2_host.stages.need import need_of, remedy
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import Route


class PlannedRoute(NamedTuple):
    order: tuple[int, ...]
    """Of the devices given, those that take part, by place."""
    plan: RoutePlan
    says: str
    """Why, for a person."""


class RoutePlanner:
    """What the stream needs is found once, in seconds; a plan takes milliseconds."""

    def __init__(self, config: Config, dtype: torch.dtype, wanted: Route | None = None) -> None:
        """`dtype`: of the ranks. `wanted` None = either route.

        Raises:
            ModelError: the embedded model's file is missing or damaged.
        """
        self._config = config
        self._dtype = dtype
        self._wanted = wanted
        self.need = need_of(config, dtype)

    def plan(self, devices: Sequence[Device], num_steps: int) -> PlannedRoute:
        """The route for so many steps, or for the most that memory was planned for.

        Raises:
            DeviceMemoryError: they cannot hold the model; with what is needed, what is there, and
                the remedy.
        """
        need = self.need
        num_steps = min(num_steps, need.num_rows)
        to_do = partial(remedy, self._config, self._dtype, devices)
        choice = choose_route(devices, num_steps, need, to_do, self._wanted)
        work = work_of(devices, num_steps, choice.route, need)
        plan = RoutePlan.of(choice.partition, work)
        if plan.route is Route.RING:
            plan = RoutePlan(plan.route, need.num_rows, plan.num_blocks, plan.cuts)
        return PlannedRoute(choice.partition.order, plan, choice.says)
