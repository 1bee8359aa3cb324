"""
What a model thinks aloud before its answer, taken off, in a text that comes whole or in pieces.

Servers that know their models keep thoughts apart; others leave them in the text, in the model's own marks: a
`<think>` block, only its end (the template has written the beginning), harmony's channels, or what is left of these
when their special tokens are stripped. Thoughts that never end are no answer. Marks count at the beginning of an answer
and, as the end of thoughts or at the start of a line, further on; not where the prompt itself holds them, and not in
quotes: then they are what the answer is about.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

HELD_CHARS_MAX: Final = 200_000
"""Of a text that may turn out to be thoughts; a longer one is passed on as the answer it then probably is."""
LEADING_SPACE_MAX: Final = 1_000
HEADER_CHARS_MAX: Final = 200

_PAIRS: Final = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|begin_of_thought|>": "<|end_of_thought|>",
}
_FINAL: Final = "<|channel|>final<|message|>"
_CLOSES: Final = (*_PAIRS.values(), _FINAL)
_MARKS: Final = (*_PAIRS, *_CLOSES)
_ANY_MARK: Final = re.compile("|".join(re.escape(mark) for mark in _MARKS))
_FIRST_CHARS: Final = frozenset(mark[0] for mark in _MARKS)
_MARK_CHARS_MAX: Final = max(len(mark) for mark in _MARKS)
_QUOTES: Final = frozenset("`'\"\u201c\u201d\u2018\u2019")

_MESSAGE: Final = "<|message|>"
_HEADER: Final = re.compile(r"<\|channel\|>|<\|start\|>|(?:analysis|commentary|final)<\|message\|>")
_MESSAGE_END: Final = re.compile(r"<\|(?:end|return|call)\|>|(?=<\|(?:channel|start)\|>)")
_MESSAGE_END_CHARS_MAX: Final = len("<|channel|>")
_BARE: Final = re.compile(r"analysis(?=[A-Z])")
_BARE_END: Final = "assistantfinal"
_BEGINNINGS: Final = (
    *_PAIRS,
    *("<|channel|>", "<|start|>", "analysis<|message|>", "commentary<|message|>", "final<|message|>"),
)


class Thoughts:
    """
    Reads one answer and passes on what is no thought.

    Args:
        prompt: The texts that the model was given, to know marks that are part of the matter.
        begins_inside: Whether this model is known to send the end of its thoughts without their beginning; then
            nothing is passed on before it has come, or the answer is over.

    Attributes:
        leaked: What was passed on turned out to be thoughts: their end came, and no beginning had.
    """

    def __init__(self, prompt: Sequence[str] = (), *, begins_inside: bool = False) -> None:
        self._prompt = prompt
        self._held: str = ""
        self._out: list[str] = []
        self._last: str = ""
        self._passed_on: bool = False
        self._after_thought: bool = False
        self._over: bool = False
        self._visible: bool = False
        self._until: tuple[str, ...] = _CLOSES if begins_inside else ()
        self._within: bool = False
        # Ends of what began in the middle of a line: there it was no thought, and its end is none of one.
        self._ignored: set[str] = set()
        self._read: Callable[[], bool] = self._withheld if begins_inside else self._beginning
        self.leaked: bool = False

    def feed(self, text: str) -> str:
        """Take the next piece; give what can be passed on now, possibly nothing."""
        self._held += text
        while self._read():
            pass
        return self._taken()

    def end(self) -> str:
        """Give what was withheld and is no thought."""
        self._over = True
        while self._read():
            pass
        return self._taken()

    def whole(self, text: str) -> str:
        """Take the text in one piece and give the answer; nothing can leak then."""
        self._held = text
        return self.end()

    def _taken(self) -> str:
        text = "".join(self._out)
        self._out.clear()
        self._passed_on = self._passed_on or bool(text)
        return text

    def _pass_on(self, length: int) -> None:
        if length:
            self._out.append(self._held[:length])
            self._last = self._held[length - 1]
            self._held = self._held[length:]

    def _beginning(self) -> bool:
        held = self._held.lstrip()
        if not held:
            self._held = "" if self._after_thought else self._held[:LEADING_SPACE_MAX]
            return self._over and self._go(self._text)
        if self._after_thought:
            self._held = held
        for mark, close in _PAIRS.items():
            if held.startswith(mark) and (mark == "<think>" or not self._is_matter(mark)):
                self._held, self._until = held[len(mark) :], (close,)
                return self._go(self._thought)
        if _HEADER.match(held):
            self._held = held
            return self._go(self._header)
        if _BARE.match(held):
            self._until, self._within = (_BARE_END,), False
            return self._go(self._withheld)
        unsure = len(held) <= _MARK_CHARS_MAX and any(mark.startswith(held) for mark in _BEGINNINGS)
        if unsure and not self._over:
            return False
        return self._go(self._text)

    def _thought(self) -> bool:
        close = self._until[0]
        at = self._held.find(close)
        if at < 0:
            # What is still open at the end is no answer.
            self._held = "" if self._over else self._held[-(len(close) - 1) :]
            return False
        return self._answer_from(at + len(close))

    def _withheld(self) -> bool:
        """Wait for the end of what may be thoughts; without one it is the answer."""
        found = [(at, mark) for mark in self._until if (at := self._held.find(mark)) >= 0]
        if found:
            at, mark = min(found)
            if not self._within:
                return self._answer_from(at + len(mark), message=mark == _FINAL)
            self._held = self._held[at + len(mark) :]
            self._after_thought = True
            return self._go(self._beginning)
        if not self._over and len(self._held) <= HELD_CHARS_MAX:
            return False
        if self._within:
            # The mark that it began with is text.
            self._pass_on(1)
        return self._go(self._text)

    def _text(self) -> bool:
        held = self._held
        if not held:
            return False
        if _FIRST_CHARS.isdisjoint(held):
            self._pass_on(len(held))
            return False
        for match in _ANY_MARK.finditer(held):
            mark, at = match.group(), match.start()
            before = held[at - 1] if at else self._last
            if mark in _PAIRS and before not in {"", "\n"}:
                self._ignored.add(_PAIRS[mark])
                continue
            if match.end() == len(held) and not self._over:
                self._pass_on(at)
                return False
            after = held[match.end() : match.end() + 1]
            if before in _QUOTES or after in _QUOTES or self._is_matter(mark):
                continue
            if mark in self._ignored:
                self._ignored.discard(mark)
                continue
            if mark in _PAIRS:
                self._pass_on(at)
                self._until, self._within = (_PAIRS[mark],), True
                return self._go(self._withheld)
            return self._answer_from(match.end(), message=mark == _FINAL)
        self._pass_on(len(held) - (0 if self._over else _unsure_chars(held)))
        return False

    def _header(self) -> bool:
        name, found, rest = self._held.partition(_MESSAGE)
        if not found:
            if self._over or len(self._held) > HEADER_CHARS_MAX:
                self._held = "" if self._over else self._held
                return not self._over and self._go(self._text)
            return False
        channel = name.rpartition("<|channel|>")[2].strip()
        self._visible = channel.startswith(("final", "<|start|>")) and " to=" not in name
        self._held = rest
        return self._go(self._message)

    def _message(self) -> bool:
        match = _MESSAGE_END.search(self._held)
        if match is None:
            keep = 0 if self._over else min(_MESSAGE_END_CHARS_MAX - 1, len(self._held))
            at = self._held.find("<", len(self._held) - keep) if keep else -1
            ready = len(self._held) if at < 0 else at
            if self._visible:
                self._pass_on(ready)
            else:
                self._held = self._held[ready:]
            return False
        if self._visible:
            self._pass_on(match.start())
            self._held = self._held[match.end() - match.start() :]
        else:
            self._held = self._held[match.end() :]
        self._after_thought = True
        return self._go(self._beginning)

    def _answer_from(self, position: int, *, message: bool = False) -> bool:
        self.leaked = self.leaked or self._passed_on
        self._out.clear()
        self._held = self._held[position:]
        self._after_thought = self._visible = True
        return self._go(self._message if message else self._beginning)

    def _go(self, state: Callable[[], bool]) -> bool:
        self._read = state
        return True

    def _is_matter(self, mark: str) -> bool:
        pair = {mark, *(other for pair in _PAIRS.items() if mark in pair for other in pair)}
        return any(each in text for text in self._prompt for each in pair)


def without_thoughts(text: str, prompt: Sequence[str] = ()) -> str:
    """The answer in a whole text."""
    return Thoughts(prompt).whole(text)


def _unsure_chars(text: str) -> int:
    """How many characters at the end may be the beginning of a mark."""
    for start in range(max(0, len(text) - _MARK_CHARS_MAX + 1), len(text)):
        if text[start] in _FIRST_CHARS and any(mark.startswith(text[start:]) for mark in _MARKS):
            return len(text) - start
    return 0
