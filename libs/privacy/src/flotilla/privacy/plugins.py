"""Layers that others wrote: functions named in the settings."""

import importlib
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from flotilla.privacy.errors import LayerMissingError
from flotilla.privacy.layers import Function, Guarded
from flotilla.privacy.spans import Span

_REFERENCE: Final = re.compile(r"[A-Za-z_][\w.]{0,200}:[A-Za-z_]\w{0,100}")
Find = Callable[[str], Iterable[Span | tuple[int, int, str]]]


def plugin(reference: str, *, timeout_s: float) -> Guarded:
    """
    A function as a layer with a deadline, by "package.module:function".

    The function takes a text and gives spans, or tuples of start, end and type.

    Raises:
        LayerMissingError: there is no such module or function.
    """
    if not _REFERENCE.fullmatch(reference):
        raise LayerMissingError(reference[:100], "is to be named as package.module:function")
    module_name, _, name = reference.partition(":")
    problem = ""
    function: Any = None
    try:
        function = getattr(importlib.import_module(module_name), name, None)
    except Exception as error:  # noqa: BLE001 - a module may raise anything while it is imported
        problem = f"cannot be imported ({type(error).__name__}): install it beside the worker"
    if not problem and not callable(function):
        problem = f"is no function of {module_name}"
    if problem:
        raise LayerMissingError(reference, problem)
    return Guarded(Function(reference, cast("Find", function)), timeout_s=timeout_s)
