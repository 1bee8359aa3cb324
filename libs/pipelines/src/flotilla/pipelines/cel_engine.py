"""
The engine of CEL, without what its package brings along.

`import cel` loads the command line of its authors as well: typer, rich, prompt-toolkit and pygments, which no service has
a use for. So its extension module is loaded alone, under its own name, when the first condition is read.
"""

import sys
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Any, Final, Protocol

PACKAGE: Final = "cel"
EXTENSION: Final = "cel.cel"


class Program(Protocol):
    """A compiled expression."""

    def execute(self, context: dict[str, Any], /) -> Any:
        """Evaluate it over variables."""
        ...

    def functions(self) -> list[str]:
        """The functions and operators in it."""
        ...


class Engine(Protocol):
    """The extension module."""

    def compile(self, expression: str, /) -> Program:
        """Compile; ValueError for what is no CEL."""
        ...


@cache
def engine() -> Engine:
    """
    Load it, once in a process.

    Raises:
        ImportError: The package is not installed, or has its extension elsewhere.
    """
    package = find_spec(PACKAGE)
    places = package.submodule_search_locations if package is not None else None
    found = PathFinder.find_spec(EXTENSION, places) if places is not None else None
    if found is None or found.loader is None:
        raise ImportError("conditions need common-expression-language, whose extension module was not found")
    module: Any = module_from_spec(found)
    sys.modules[EXTENSION] = module  # an extension of this kind can be initialised only once
    found.loader.exec_module(module)
    return module
