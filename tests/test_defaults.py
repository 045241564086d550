"""A default stands once, in daemon/config: what is filled from there has none of its own, in whatever package it is."""

import ast
from collections.abc import Iterator

from daemon.config import Settings
from tests.test_architecture import modules, tree, where
from tests.test_house import keys


def test_rules_and_whatever_the_configuration_fills_carry_no_defaults() -> None:
    carriers = {name for module in modules() for name in filled(module)}
    wrong = [
        f"{where(module, field.lineno)} {each.name}.{ast.unparse(field)}"
        for module in modules()
        for each in ast.walk(tree(modules()[module]))
        if isinstance(each, ast.ClassDef) and (each.name.endswith("Rules") or each.name in carriers)
        for field in each.body
        if isinstance(field, ast.AnnAssign) and has_default(field.value)
    ]

    assert not wrong, "\n".join(wrong)
    assert {"Rules", "EspeakRules", "SourceConfig", "Retention", "CosRules", "RetinaRules"} <= carriers


def filled(module: str) -> Iterator[str]:
    """The classes that a function `..._of` of the set-up returns."""
    if not is_set_up(module):
        return
    for each in ast.walk(tree(modules()[module])):
        if isinstance(each, ast.FunctionDef) and each.name.endswith("_of") and each.returns is not None:
            yield ast.unparse(each.returns).strip("'")


def has_default(value: ast.expr | None) -> bool:
    """`= 3` and `= field(default=3)`, but not `= field(repr=False)`."""
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field"):
        return any(each.arg in ("default", "default_factory") for each in value.keywords)
    return value is not None


def test_no_argument_that_the_configuration_fills_has_a_number_or_a_word_for_its_default() -> None:
    own = {name: found for module in modules() for name, found in defaults(module)}
    passed = [each for module in modules() if is_set_up(module) for each in passed_on(module)]
    wrong = [f"{place}: {name}({key}={own[name][key]})" for name, key, place in passed if key in own.get(name, ())]

    assert not wrong, "\n".join(wrong)
    assert {("Batcher", "queue_max"), ("Model.load", "threads")} <= {(name, key) for name, key, _ in passed}


def is_set_up(module: str) -> bool:
    return module.startswith("daemon.assembly") or module.endswith((".setup", ".backends"))


def passed_on(module: str) -> Iterator[tuple[str, str, str]]:
    """(what is called, keyword, where) of what is given a key of the configuration."""
    known = {key.rpartition(".")[2] for key, _ in keys(Settings)}
    for call in ast.walk(tree(modules()[module])):
        if isinstance(call, ast.Call):
            for each in call.keywords:
                if each.arg and known & {node.attr for node in ast.walk(each.value) if isinstance(node, ast.Attribute)}:
                    yield ast.unparse(call.func), each.arg, where(module, call.lineno)


def defaults(module: str) -> Iterator[tuple[str, dict[str, str]]]:
    """By what is called, as `Batcher`, `Model.load` or `probe`: its keywords that are a constant by default."""
    top = tree(modules()[module])
    for each in top.body:
        if isinstance(each, ast.ClassDef):
            for method in each.body:
                if isinstance(method, ast.FunctionDef):
                    yield each.name if method.name == "__init__" else f"{each.name}.{method.name}", constants(method)
        elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            yield each.name, constants(each)


def constants(function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str]:
    """None is none: it says that nothing is configured."""
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return {
        each.arg: ast.unparse(value)
        for each, value in pairs
        if value is not None and ast.unparse(value) != "None"
        if not any(isinstance(node, ast.Name | ast.Attribute | ast.Call) for node in ast.walk(value))
    }
