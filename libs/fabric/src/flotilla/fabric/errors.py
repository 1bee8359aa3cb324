"""
What can go wrong between a member of the fleet and NATS.

    flotilla.contracts.errors.FlotillaError
     └─ FabricError
         ├─ ConnectFailedError        no server answered, or it refused the credentials
         ├─ NoRespondersError         nobody listens on a subject
         ├─ RequestTimeoutError       no reply in time
         │   └─ RequestDeniedError    nor can there be one: this user may not publish there
         ├─ TooManyCallsError         more calls are open than the bound allows
         ├─ LanesFullError            as many tasks wait for a slot as the bound allows
         ├─ MalformedSubjectError     what was to be published or subscribed to is no subject
         ├─ MalformedHeaderError      a header that cannot be sent
         ├─ ListFailedError           a bucket could not be listed
         ├─ BucketFullError           a bucket has no room for a value
         ├─ TopologyError             a stream, bucket or consumer could not be made as it should be
         └─ CredentialsError          a seed file cannot be used
"""

from pathlib import Path
from typing import Final

from flotilla.contracts.errors import FlotillaError

SUBJECT_SHOWN_MAX: Final = 80


class FabricError(FlotillaError):
    """Anything that went wrong between a member of the fleet and NATS."""


class ConnectFailedError(FabricError):
    """No server answered at `url`, or it refused the credentials; `__cause__` and the text say which."""

    def __init__(self, url: str, error: BaseException) -> None:
        super().__init__(f"cannot connect to {url}: {error or type(error).__name__}")
        self.url = url


class NoRespondersError(FabricError):
    """The server said at once that nobody listens on `subject`."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"nobody listens on {subject}")
        self.subject = subject


class RequestTimeoutError(FabricError):
    """No reply came in time to a request on `subject`."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"no reply in time from {subject}")
        self.subject = subject


class RequestDeniedError(RequestTimeoutError):
    """No reply can come: this user may not publish to `subject`."""


class TooManyCallsError(FabricError):
    """As many calls as `limit` wait for replies already."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} calls wait for replies already")
        self.limit = limit


class LanesFullError(FabricError):
    """As many tasks as `limit` wait already in every lane that could serve this one."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} tasks wait already")
        self.limit = limit


class MalformedSubjectError(FabricError):
    """
    `subject` is none: it has whitespace, control characters, an empty token, a wildcard where none may be, or is too long.

    The text has its beginning in ASCII, escaped: it may have come from outside.
    """

    def __init__(self, subject: str) -> None:
        super().__init__(f"not a well-formed subject: {subject[:SUBJECT_SHOWN_MAX]!a}")
        self.subject = subject


class MalformedHeaderError(FabricError):
    """The header `name` cannot be sent; the text says what was `expected` of it, and never its value."""

    def __init__(self, name: str, expected: str) -> None:
        super().__init__(f"header {name[:SUBJECT_SHOWN_MAX]!a}: expected {expected}")
        self.name = name
        self.expected = expected


class ListFailedError(FabricError):
    """The server answered the listing of `bucket` with `status`, an HTTP-like number, or with nothing known."""

    def __init__(self, bucket: str, status: str) -> None:
        super().__init__(f"bucket {bucket} cannot be listed: status {status or 'unknown'}")
        self.bucket = bucket
        self.status = status


class BucketFullError(FabricError):
    """A bucket holds as many values, or as many bytes, as it may."""

    def __init__(self, bucket: str) -> None:
        super().__init__(f"bucket {bucket} is full")
        self.bucket = bucket


class TopologyError(FabricError):
    """A stream, bucket or consumer could not be made as it should be; the text names it and says why."""


class CredentialsError(FabricError):
    """The seed file at `path` cannot be used; the text says why and never holds the seed."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
