"""`sdv2-host params` and `sdv2-host styles`: what can be set, for people and for scripts."""

from __future__ import annotations

import json
from dataclasses import asdict

from sdv2_host.commands.settings import style_prompts
from sdv2_host.param_rows import Group
from sdv2_host.param_table import PARAMS


def show_params(as_json: bool) -> None:
    """Prints the table of live parameters."""
    if as_json:
        rows = [{**asdict(spec), "kind": spec.kind.__name__} for spec in PARAMS.values()]
        print(json.dumps(rows, indent=2))
        return
    group = ""
    for spec in sorted(PARAMS.values(), key=lambda spec: list(Group).index(spec.group)):
        if spec.group.value != group:
            group = spec.group.value
            print(f"{group}:")
        default = f'"{spec.default}"' if spec.kind is str else spec.default
        mark = " (another engine takes over)" if spec.swaps_engine else ""
        print(
            f"  {spec.address:28} {spec.kind.__name__:5}  {spec.allowed}, default {default}{mark}"
        )
        print(f"      {spec.name}: {spec.help}")


def show_styles(as_json: bool) -> None:
    """Prints the named styles."""
    prompts = style_prompts()
    if as_json:
        print(json.dumps(prompts, indent=2))
        return
    for name, prompt in prompts.items():
        print(f"{name:12} {prompt}")
