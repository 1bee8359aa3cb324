"""A routing policy in a file, as people write it and as a ConfigMap holds it: read and checked, with no fleet at hand."""

from pathlib import Path

from flotilla.contracts.api_routing import POLICY_BYTES_MAX
from flotilla.contracts.errors import PolicyError
from flotilla.contracts.toml_lines import located_all
from flotilla.routing.policy_check import parse_policy


def read_policy(path: Path) -> str:
    """
    The text of a file that is a policy.

    Raises:
        PolicyError: It cannot be read, or is none; every fault begins with the file's name, and its line where that is known.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode()
    except OSError as error:
        raise PolicyError([f"{path}: {error.strerror or type(error).__name__}"]) from error
    except UnicodeDecodeError as error:
        raise PolicyError([f"{path}: not text in UTF-8"]) from error
    if len(raw) > POLICY_BYTES_MAX:
        raise PolicyError([f"{path}: {len(raw)} bytes, and a policy has at most {POLICY_BYTES_MAX}"])
    try:
        parse_policy(text)
    except PolicyError as error:
        raise PolicyError(located_all(str(path), error.faults, text)) from error
    return text
