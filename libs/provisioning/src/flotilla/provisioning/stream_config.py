"""
What a stream or bucket is, in the terms of the JetStream API; `topology.py` has those of a fleet.
"""

from typing import Final, Literal

from msgspec import Struct

from flotilla.contracts import subjects

NS_PER_S: Final = 1_000_000_000
MARKER_TTL_S: Final = 10
"""How long the marker of an expired key stays for watchers; whole seconds."""


class SubjectMapping(Struct, frozen=True, kw_only=True):
    """From which subjects to which (ADR-36 for transforms, ADR-28 for republishing)."""

    src: str
    dest: str


class StreamConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    A stream in the terms of the JetStream API (ADR-8 for buckets, ADR-43 for markers).

    Attributes:
        max_age: In nanoseconds, like every duration here; 0 keeps for ever.
        allow_msg_counter: Whether its messages are increments of counters, one counter for each subject (ADR-49).
        allow_msg_ttl: Whether a message may bring a lifetime of its own (header `Nats-TTL`).
        first_seq: Of a stream that is made; 0 leaves it to the server.
        subject_delete_marker_ttl: How long a marker tells watchers that a key's last value expired.
    """

    name: str
    subjects: tuple[str, ...]
    retention: Literal["limits", "workqueue"]
    discard: Literal["old", "new"]
    max_bytes: int
    max_age: int = 0
    max_msgs: int = -1
    max_msgs_per_subject: int = -1
    discard_new_per_subject: bool = False
    duplicate_window: int = 0
    allow_direct: bool = False
    allow_msg_ttl: bool = False
    allow_msg_schedules: bool = False
    allow_rollup_hdrs: bool = False
    deny_delete: bool = False
    deny_purge: bool = False
    subject_delete_marker_ttl: int = 0
    subject_transform: SubjectMapping | None = None
    republish: SubjectMapping | None = None
    num_replicas: int = 0
    first_seq: int = 0
    storage: Literal["", "file", "memory"] = ""
    allow_msg_counter: bool = False


def bucket_config(
    bucket: str,
    *,
    bytes_max: int,
    history: int = 1,
    ttl_s: int = 0,
    duplicate_window_s: int = 120,
    marker_ttl_s: int = MARKER_TTL_S,
) -> StreamConfig:
    """As any NATS client would make it (ADR-8), so that `nats kv` and every client library can use it."""
    return StreamConfig(
        name=subjects.bucket_stream(bucket),
        subjects=(subjects.key(bucket, ">"),),
        retention="limits",
        discard="new",
        max_bytes=bytes_max,
        max_age=ttl_s * NS_PER_S,
        max_msgs_per_subject=history,
        duplicate_window=min(duplicate_window_s, ttl_s or duplicate_window_s) * NS_PER_S,
        allow_direct=True,
        allow_msg_ttl=True,
        allow_rollup_hdrs=True,
        deny_delete=True,
        subject_delete_marker_ttl=marker_ttl_s * NS_PER_S,
    )
