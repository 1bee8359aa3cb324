"""Stop words where the server takes none: the adapter itself ends the answer at the first of them."""

from collections.abc import Sequence


class StopWords:
    """
    Reads one answer and passes on what stands before the first stop word.

    Attributes:
        reached: A stop word has come; the rest of the answer is of no interest.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = [word for word in words if word]
        self._held = ""
        self.reached = False

    def feed(self, text: str) -> str:
        """Take the next piece; give what can be passed on now."""
        if self.reached or not self._words:
            return "" if self.reached else text
        held = self._held + text
        places = [at for word in self._words if (at := held.find(word)) >= 0]
        if places:
            self.reached = True
            self._held = ""
            return held[: min(places)]
        keep = max(_beginning_of(word, held) for word in self._words)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def end(self) -> str:
        """Give what was withheld: the beginning of a stop word that did not go on."""
        held, self._held = self._held, ""
        return held


def _beginning_of(word: str, text: str) -> int:
    """How many characters at the end of the text may begin the word."""
    return next((length for length in range(min(len(word) - 1, len(text)), 0, -1) if text.endswith(word[:length])), 0)
