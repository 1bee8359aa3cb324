"""
What is kept of a run in its scope's stream of steps, as it is written there: the definition it began with, and results.

Who keeps and finds them is `step_results.py`.
"""

from typing import Annotated, Final

import msgspec
import structlog
from msgspec import Meta, Struct

from flotilla.contracts.decoding import UNDECODABLE
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.fields import Word
from flotilla.contracts.headers import DataClass
from flotilla.contracts.results import decode_result, encode
from flotilla.pipelines.definition import FILE_BYTES_MAX
from orchestrator.pipelines.step_ended import StepEnded

logger = structlog.get_logger("orchestrator")


class KeptDefinition(Struct, frozen=True, kw_only=True):
    """
    The definition that a run began with.

    Attributes:
        beginning: Random, of whoever stored it: a publish whose acknowledgement was lost is told from another's, which has
            the same definition and results to be read.
    """

    digest: Word
    beginning: Word = ""
    source_text: Annotated[str, Meta(max_length=FILE_BYTES_MAX)]


decode_definition: Final = msgspec.json.Decoder(KeptDefinition).decode


class KeptResult(Struct, frozen=True, kw_only=True):
    """
    A step's result as it is kept.

    Attributes:
        data_class: Of what it was made from.
        result: A `Result`.
    """

    data_class: DataClass
    result: msgspec.Raw


_decode_kept: Final = msgspec.json.Decoder(KeptResult).decode


def output_bytes(ended: StepEnded) -> int:
    """How many bytes its output has; a failure has none."""
    output = ended.result.output
    return len(output) if isinstance(output, msgspec.Raw) else 0


def encode_kept(ended: StepEnded) -> bytes:
    """Write how a step has ended, to be kept."""
    return msgspec.json.encode(KeptResult(data_class=ended.data_class, result=msgspec.Raw(encode(ended.result))))


def read_kept(subject: str, body: bytes) -> StepEnded | None:
    """Read what `encode_kept` wrote; None, with a line in the log, where this version cannot."""
    try:
        kept = _decode_kept(body)
        result = decode_result(bytes(kept.result))
    except (*UNDECODABLE, DecodeFailedError) as error:
        logger.warning("step_result_unreadable", subject=subject, error=type(error).__name__)
        return None
    return StepEnded(result, kept.data_class)
