"""The types that the component is checked against and the stand-in that it runs in are one API."""

from __future__ import annotations

import ast
import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fake_td import TouchDesigner
from tests.fake_td.module import CLASSES, names_for

STUBS = Path(__file__).parents[2] / "plugins/touchdesigner/typings/td"
TREES = {path.name: ast.parse(path.read_text()) for path in sorted(STUBS.glob("*.pyi"))}


class Parameter(NamedTuple):
    name: str
    kind: str
    has_default: bool


def stub_classes() -> dict[str, ast.ClassDef]:
    return {
        node.name: node
        for tree in TREES.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and not is_property(one):
            yield one


def is_property(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(one) == "property" for one in node.decorator_list)


def members(node: ast.ClassDef) -> Iterator[str]:
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and is_property(one):
            yield one.name
        elif isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            yield one.target.id
        elif isinstance(one, ast.Assign):
            yield from (target.id for target in one.targets if isinstance(target, ast.Name))


def stub_parameters(node: ast.FunctionDef) -> list[Parameter]:
    args = node.args
    plain = [one.arg for one in args.posonlyargs + args.args]
    first_default = len(plain) - len(args.defaults)
    found = [Parameter(name, "plain", at >= first_default) for at, name in enumerate(plain)]
    if args.vararg:
        found.append(Parameter(args.vararg.arg, "star", False))
    for one, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        found.append(Parameter(one.arg, "keyword", default is not None))
    return found


def fake_parameters(function: object) -> list[Parameter]:
    kinds = {
        inspect.Parameter.POSITIONAL_OR_KEYWORD: "plain",
        inspect.Parameter.VAR_POSITIONAL: "star",
        inspect.Parameter.KEYWORD_ONLY: "keyword",
    }
    return [
        Parameter(one.name, kinds[one.kind], one.default is not inspect.Parameter.empty)
        for one in inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    ]


def stub_defaults(node: ast.FunctionDef) -> dict[str, object]:
    """The defaults that the documentation names; `...` where it is silent."""
    args = node.args
    plain = [one.arg for one in args.args]
    pairs = list(zip(plain[len(plain) - len(args.defaults) :], args.defaults, strict=True))
    pairs += [
        (one.arg, default)
        for one, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
        if default is not None
    ]
    values = {name: ast.literal_eval(default) for name, default in pairs}
    return {name: value for name, value in values.items() if value is not ...}


CLASSES_OF_STUB = stub_classes()
METHODS = [
    pytest.param(name, node, id=f"{name}.{node.name}")
    for name, one in CLASSES_OF_STUB.items()
    for node in methods(one)
]


@pytest.mark.parametrize("name", CLASSES_OF_STUB)
def test_each_class_of_the_types_is_in_the_stand_in_with_its_members(name: str) -> None:
    kind = CLASSES[name]

    missing = [
        member
        for member in members(CLASSES_OF_STUB[name])
        if not hasattr(kind, member) and member not in getattr(kind, "__annotations__", {})
    ]

    assert missing == []


@pytest.mark.parametrize("name", CLASSES_OF_STUB)
def test_each_class_of_the_types_has_the_same_bases_in_the_stand_in(name: str) -> None:
    wanted = {ast.unparse(base) for base in CLASSES_OF_STUB[name].bases} - {"NamedTuple"}

    assert wanted <= {base.__name__ for base in CLASSES[name].__mro__}


@pytest.mark.parametrize(("name", "node"), METHODS)
def test_each_method_takes_the_same_arguments(name: str, node: ast.FunctionDef) -> None:
    function = getattr(CLASSES[name], node.name)

    assert fake_parameters(function) == stub_parameters(node)


@pytest.mark.parametrize(("name", "node"), METHODS)
def test_each_documented_default_is_the_stand_ins(name: str, node: ast.FunctionDef) -> None:
    parameters = inspect.signature(getattr(CLASSES[name], node.name)).parameters

    wanted = stub_defaults(node)
    assert {key: parameters[key].default for key in wanted} == wanted


def test_each_name_of_the_module_is_in_the_stand_in(tmp_path: Path) -> None:
    body = TREES["__init__.pyi"].body
    names = {one.asname for node in body if isinstance(node, ast.ImportFrom) for one in node.names}
    names |= {node.target.id for node in body if isinstance(node, ast.AnnAssign)}  # type: ignore[union-attr]
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]

    with TouchDesigner(tmp_path) as touch:
        offered = names_for(touch, touch.project1)

    assert names - set(offered) == set()
    for node in functions:
        assert fake_parameters(offered[node.name]) == stub_parameters(node)


@pytest.mark.parametrize("name", TREES)
def test_each_class_of_the_types_names_its_page(name: str) -> None:
    lines = ["", *(STUBS / name).read_text().splitlines()]

    silent = [
        line
        for before, line in itertools.pairwise(lines)
        if line.startswith("class ") and "#" not in line and not before.startswith("#")
    ]

    assert silent == []
