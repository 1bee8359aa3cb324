"""
structlog without rich: every module of the chassis takes it from here, and is what a service imports first.

Where rich is installed, as beside `flotilla up`, structlog imports it for tracebacks in colour, which no log of a service
has. That is a fifth of what a start costs, and 5 MiB of each process.
"""

import sys
from typing import Any, cast

_MODULES = cast("dict[str, Any]", sys.modules)
_HIDES = not {"rich", "structlog"} & _MODULES.keys()
if _HIDES:
    _MODULES["rich"] = None
try:
    import structlog
    from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger
finally:
    if _HIDES:
        del _MODULES["rich"]

__all__ = ["EventDict", "ExcInfo", "Processor", "WrappedLogger", "structlog"]
