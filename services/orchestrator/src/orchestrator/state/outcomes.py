"""How an attempt can end."""

from enum import Enum

from flotilla.contracts.attempts import Failed, Finished


class Ended(Enum):
    """
    Ways in which an attempt ends without the worker's last word.

    NO_SLOT is the server's word that no replica has a free slot; BUSY a replica's, which was just leaving its group: another
    one may have a slot.
    """

    NO_SLOT = "no_slot"
    BUSY = "busy"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"


Outcome = Finished | Failed | Ended


def found_no_slot(outcome: Outcome) -> bool:
    """Whether no replica took the attempt."""
    return outcome is Ended.NO_SLOT or outcome is Ended.BUSY
