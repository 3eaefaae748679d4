"""Load the functions and classes that a configuration names, if the command line allows their code to run."""

import copy
import inspect
from collections.abc import Callable, Mapping
from functools import partial, wraps
from pathlib import Path
from types import FunctionType
from typing import Any, TypeGuard

from lossviz.errors import Refusal, RequestError, did_you_mean, show
from lossviz.files import shown
from lossviz.user_code.loader import Code, load_file, load_module
from lossviz.user_code.permissions import Allowed, parse_target

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def load_target(
    target: str, args: Mapping[str, Any], allowed: Allowed, positional: int = 0, **offered: object
) -> Callable[..., Any]:
    """The function or class that a target names, with its arguments filled in.

    Args:
        target: `FILE.py:NAME` or `package.module:NAME`.
        args: of the configuration, by name.
        allowed: whose code may run.
        positional: how many arguments it will be called with.
        offered: for parameters of these names that have no default and stand in no `args`.

    Raises:
        RequestError: it is not allowed or not there, or does not take these arguments.
        WorkError: the code fails while it is loaded.
    """
    found = _find(target, allowed)
    signature = inspect.signature(found)
    wanted = {
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty and parameter.kind in _BY_NAME
    }
    given = {name: value for name, value in offered.items() if name in wanted} | {**args}
    try:
        signature.bind(*range(positional), **given)
    except TypeError as error:
        before = ""
        if positional:
            before = "model, batch, " if next(iter(signature.parameters), "") == "model" else "outputs, targets, "
        problem = f"does not fit args = {show({**args})}: {error}"
        advice = f"it is {found.__name__}{signature}, and is called with {before}**args"
        raise RequestError(Refusal(target, problem, advice=advice)) from None

    @wraps(partial(found, **given))
    def call(*values: object) -> object:
        # A copy at every call: what the user's function does to its arguments must not reach the configuration.
        return found(*values, **copy.deepcopy(given))

    return call


def hash_files(target: str, allowed: Allowed) -> dict[str, str]:
    """SHA-256 of the files that the code of a target came from, by path.

    Raises:
        RequestError: it is not allowed.
        WorkError: the code fails while it is loaded.
    """
    code = _load(target, allowed)
    return {shown(Path(path)): f"sha256:{digest}" for path, digest in code.files.items()}


def _load(target: str, allowed: Allowed) -> Code:
    refusal = allowed.refusal(target)
    if refusal:
        raise RequestError(refusal)
    wanted = parse_target(target)
    return load_file(Path(wanted.source).resolve()) if wanted.in_file else load_module(wanted.source)


def _find(text: str, allowed: Allowed) -> FunctionType | type:
    module, target = _load(text, allowed).module, parse_target(text)

    def is_users(value: object) -> TypeGuard[FunctionType | type]:
        # `from os import system` in the user's file does not let a configuration call that.
        return isinstance(value, FunctionType | type) and (
            value.__module__ == module.__name__ or (not target.in_file and allowed.permits(value.__module__))
        )

    found = getattr(module, target.name, None)
    if is_users(found):
        return found
    names = [name for name, value in vars(module).items() if is_users(value)]
    if found is None:
        problem = f"has no {target.name}{did_you_mean([target.name], names)}"
    else:
        problem = f"does not define {target.name} itself, with def or class"
    advice = f"it defines: {', '.join(names) or 'nothing'}"
    raise RequestError(Refusal(text, f"{target.source} {problem}", advice=advice))
