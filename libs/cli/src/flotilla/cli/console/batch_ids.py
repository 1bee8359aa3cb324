"""The ids of a folder's tasks: a file keeps its own when others are added, changed or removed."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from flotilla.client.batches import batch_prefix
from flotilla.client.options import SubmitOptions

DIGEST_LENGTH: Final = 15
"""In hexadecimal digits; with a batch of the greatest length and a hyphen an id has the 64 characters that it may have."""

_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class BatchIds:
    """
    Makes `<batch>-<digest>` of a file's name, its input and the options.

    So the same work has the same id however often it is submitted, and other work never has. Files of the same name and
    text in several folders are told apart by how often that came before.

    Attributes:
        batch: What was given, or a random one.
    """

    def __init__(self, batch: str | None, capability: str, options: SubmitOptions) -> None:
        self.batch: Final = batch_prefix(batch)
        self._common: Final = _encode([capability, dict(options)])
        self._seen: Final[Counter[bytes]] = Counter()

    def of(self, file: str, body: Mapping[str, Any]) -> str:
        """
        The id of the next task.

        Raises:
            UnicodeEncodeError: The input holds a lone surrogate, which no UTF-8 has.
        """
        name = Path(file).name.encode("utf-8", "surrogateescape")
        parts = (self._common, name, _encode(body))
        # Each part's own digest: no two ways to cut the whole into parts are the same.
        digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts))
        before = self._seen[digest.digest()]
        self._seen[digest.digest()] += 1
        if before:
            digest.update(str(before).encode())
        return f"{self.batch}-{digest.hexdigest()[:DIGEST_LENGTH]}"
