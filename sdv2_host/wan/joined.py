"""Linears of one input whose weights lie one behind the other in one memory: one product for all.

# O output rows of one  I input columns
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdv2_host.wan.fp8 import Product8, Rows8, linear8, quantised


class Share(nn.Linear):
    """One of them. It keeps its name and shape in the state dict, and can be written in place; its
    memory is its owner's, which moves, casts and empties it."""

    weight: nn.Parameter
    bias: nn.Parameter

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        del fn, recurse
        return self


class JoinedLinears(nn.Module):
    """A module that holds such linears among its children.

    The memory is made in one place, `rejoin_`: when the module is built, copied, or loaded by
    `assign`. What moves or casts a module does so with the joined memory (`_apply`), and the shares
    are pointed into it again. So a call copies nothing; but weights that are being trained are
    joined in each call, as gradients have to reach them.
    """

    joined_weight: Tensor
    joined_bias: Tensor
    joined_scale: Tensor | None
    """Of each row, where the weights are in 8 bits."""

    def _join_(self, *names: str) -> None:
        """The children of these names, shares of equal sizes, are joined. Once, when built."""
        self._names = names
        self.register_buffer("joined_weight", None, persistent=False)
        self.register_buffer("joined_bias", None, persistent=False)
        self.register_buffer("joined_scale", None, persistent=False)
        self._product8: Product8 | None = None
        self.rejoin_()
        self.register_load_state_dict_post_hook(_rejoin_after_load)

    @property
    def _shares(self) -> list[Share]:
        shares: list[Any] = [getattr(self, name) for name in self._names]
        return shares

    def products(self, x: Tensor) -> tuple[Tensor, ...]:
        """What each share makes of `x`, in order; views of one tensor."""
        count = len(self._names)
        weight, bias = self.joined_weight, self.joined_bias
        if self._product8 is not None:
            assert self.joined_scale is not None, "8 bits without scales"
            rows = Rows8(weight, self.joined_scale)
            return linear8(x, rows, bias, self._product8).chunk(count, dim=-1)
        if self._shares[0].weight.requires_grad:
            weight = torch.cat([share.weight for share in self._shares])
            bias = torch.cat([share.bias for share in self._shares])
        return F.linear(x, weight, bias).chunk(count, dim=-1)

    @torch.no_grad()
    def quantise_(self, product: Product8) -> None:
        """The weights are in 8 bits, multiplied by `product`. Once; they cannot be cast then."""
        self.joined_weight, self.joined_scale = quantised(self.joined_weight)
        self._product8 = product
        self._point_()

    def scales(self) -> dict[str, Tensor]:
        """By share, the scales of its rows, to be written in place; {} = not in 8 bits."""
        if self.joined_scale is None:
            return {}
        return dict(zip(self._names, self.joined_scale.chunk(len(self._names)), strict=True))

    @torch.no_grad()
    def rejoin_(self) -> None:
        """The joined memory is new, with the shares' numbers; they are pointed into it."""
        self.joined_weight = torch.cat([share.weight for share in self._shares])
        self.joined_bias = torch.cat([share.bias for share in self._shares])
        self._point_()

    def _point_(self) -> None:
        count = len(self._names)
        weights, biases = self.joined_weight.chunk(count), self.joined_bias.chunk(count)
        for share, weight_OI, bias_O in zip(self._shares, weights, biases, strict=True):
            share.weight = _pointed(share.weight, weight_OI)
            share.bias = _pointed(share.bias, bias_O)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._point_()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy: torch copies parameters one by one, so they have left the joined memory."""
        super().__setstate__(state)
        self.rejoin_()


def _rejoin_after_load(module: JoinedLinears, keys: object) -> None:
    """Loading copies into the shares, which are in their place still, unless it was by `assign`."""
    del keys
    shares = module._shares
    is_apart = any(
        share.weight.untyped_storage()._cdata != module.joined_weight.untyped_storage()._cdata
        for share in shares
    )
    if is_apart:
        module.rejoin_()


def _pointed(parameter: nn.Parameter, rows: Tensor) -> nn.Parameter:
    """The parameter with `rows` as its memory: the same object where torch can keep it."""
    if torch._has_compatible_shallow_copy_type(parameter, rows):
        parameter.data = rows
        return parameter
    return nn.Parameter(rows, parameter.requires_grad)
