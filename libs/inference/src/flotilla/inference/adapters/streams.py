"""What has come of a streamed answer so far."""

from typing import Final

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.fields import MODEL_LENGTH_MAX
from flotilla.inference.adapters.token_counts import broken_off

TEXT_LENGTH_MAX: Final = 8 * 1024 * 1024


class Gathered:
    """
    The pieces of one stream, and what the provider said about it.

    Attributes:
        model: As the provider names it; "" until it does.
        end: The provider's word for why it stopped; "" until it says so, so a stream that ends with "" was cut.
        complete: False when the answer was cut at its output limit.
        declined: A filter or the model refused somewhere in the stream.
        usage: As known so far.
    """

    def __init__(self) -> None:
        self.model = ""
        self.end = ""
        self.complete = True
        self.declined = False
        self.usage = Usage()
        self._pieces: list[str] = []
        self._length = 0

    def add(self, piece: str) -> None:
        """
        Keep a piece.

        Raises:
            AttemptError: TOO_LARGE, past `TEXT_LENGTH_MAX` characters: more would not fit into a reply.
        """
        self._length += len(piece)
        if self._length > TEXT_LENGTH_MAX:
            raise AttemptError(
                FailureKind.TOO_LARGE, f"the streamed answer exceeds {TEXT_LENGTH_MAX} characters", usage=self.usage
            )
        self._pieces.append(piece)

    @property
    def begun(self) -> bool:
        """Whether there is any text."""
        return self._length > 0

    @property
    def text(self) -> str:
        """The pieces, joined."""
        return "".join(self._pieces)

    def cut(self, provider: str) -> AttemptError:
        """The failure of a stream that ended without its end marker."""
        return AttemptError(
            FailureKind.UNAVAILABLE,
            f"{provider}: the stream ended before its end marker",
            usage=broken_off(provider, self.usage),
        )


def model_name(said: object) -> str:
    """A model's name as a provider says it, "" where that is none: it goes into results and metrics."""
    usable = isinstance(said, str) and len(said) <= MODEL_LENGTH_MAX and said.isprintable()
    return said.strip() if isinstance(said, str) and usable else ""
