"""Parameters as users may set them, drawn for property tests: ends, defaults and between."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from sdv2_host.param_table import PARAMS, ParamSpec, ParamValue
from sdv2_host.params import Params

PROMPTS = ("neon outline", "", "ink:2 | neon outline", "gold | ink | gold:0.001", "🐉 drachen" * 40)


def any_value(spec: ParamSpec) -> st.SearchStrategy[ParamValue]:
    """Of one row of the table; what means another engine or file is left as it is."""
    if spec.name in ("prompt", "prompt_b"):
        return st.sampled_from(PROMPTS)
    is_file = spec.kind is str and not spec.choices
    if is_file or spec.swaps_engine:
        return st.just(spec.default)
    if spec.choices:
        return st.sampled_from(spec.choices)
    if spec.kind is bool:
        return st.booleans()
    low, high = spec.minimum, spec.maximum
    ends = st.sampled_from((low, spec.default, high))
    if spec.kind is int:
        return st.one_of(ends, st.integers(low, high))  # type: ignore[arg-type]
    return st.one_of(ends, st.floats(low, high))


def any_params(
    names: Iterable[str] = PARAMS, **others: st.SearchStrategy[ParamValue]
) -> st.SearchStrategy[Params]:
    """`names` take any of their values, those of `others` what these say, the rest the default."""
    values = {name: any_value(PARAMS[name]) for name in names} | others
    optional = {name: st.one_of(st.just(PARAMS[name].default), one) for name, one in values.items()}
    return st.fixed_dictionaries(optional).map(lambda drawn: Params(**drawn))  # type: ignore[arg-type]
