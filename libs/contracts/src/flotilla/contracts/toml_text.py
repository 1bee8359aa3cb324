"""Reading TOML that somebody else has written: in time that is in proportion to its length."""

import re
import tomllib
from typing import Any, Final

KEY_PARTS_MAX: Final = 64
"""Of a dotted key. The parser looks at each part once for every part behind it: 4,000 of them take it eight seconds."""

# Possessive, and from the beginning of a word on, so that it looks at each character a few times.
_PART: Final = r"""(?:(?<![A-Za-z0-9_-])[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+"""
_DEEP_KEY: Final = re.compile(rf"(?:{_PART}\.[ \t]*+){{{KEY_PARTS_MAX}}}")


def read_toml(text: str) -> dict[str, Any]:
    """
    Read TOML.

    Raises:
        ValueError: It is none, or nested more deeply than anything that is written in it may be; says where.
    """
    deep = _DEEP_KEY.search(text)
    if deep is not None:
        line = text.count("\n", 0, deep.start()) + 1
        raise ValueError(f"a key of more than {KEY_PARTS_MAX} parts (at line {line})")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
