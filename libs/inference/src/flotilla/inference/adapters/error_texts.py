"""
What the text of a provider's error tells of its kind, where one status stands for several. Pure.

A text may quote the prompt, so it is searched here and forgotten: no word of it enters a message.
"""

import re
from http import HTTPStatus
from typing import Final

from flotilla.contracts.failures import FailureKind

_Searches = tuple[tuple[re.Pattern[str], FailureKind], ...]

_TOO_LONG: Final = re.compile(
    r"context.?(length|window|size|limit)|prompt is too long|input is too long|maximum context|too many (input )?tokens"
    r"|\d tokens\) is too large to process|context shift is disabled|length of all messages is too long"
    r"|\b(?:input|prompt|request|messages?)\b.{0,20}\btokens?\b.{0,40}\b(?:exceed(?:s|ed)?\b|only supports)"
    r"|maximum (?:prompt|input|model) length|must have less than \d{1,9} tokens"
    r"|model token limit|range of input length|prompt exceeds max|\binputs?\W{1,3}tokens \+ .{0,3}max_new_tokens",
    re.IGNORECASE,
)
"""
In the words of OpenAI (`Input tokens exceed the configured limit`), Anthropic, vLLM, llama.cpp, Ollama, Gemini (`The input
token count (9000) exceeds`), xAI (`This model's maximum prompt length is`), Moonshot, DashScope, Zhipu, Perplexity (`The
total length of all messages is too long`), TGI and TEI (`must have less than 512 tokens`).
"""
_NEVER_FITS: Final = re.compile(r"\brequest too large for\b|\brequired for long context requests\b", re.IGNORECASE)
"""With a 429, of a request that no waiting helps: it alone is more than OpenAI and Groq allow in a minute, or longer than
an Anthropic account may send."""
_NO_SUCH_MODEL: Final = re.compile(
    r"[\"'](?:model [\"'][^\"']{1,128}[\"'] not found|model is not loaded|model not exist)[\"']"
    r"|\bis not a valid model ID\b|\bInvalid model name passed in model="
    r"|\bmodel\b.{1,160}\bhas been (?:decommissioned|deprecated|retired)\b",
    re.IGNORECASE,
)
"""What comes with 400 where others answer 404: llama.cpp's router, DeepSeek, OpenRouter, LiteLLM, Groq."""
_LOADING: Final = re.compile(
    r"(?<!error )(?<!failed )\bloading (?:the )?model\b"
    r"|\b(?:is|currently|still) (?:loading|warming up|starting up)\b"
    r"|\bmodel (?:is )?not (?:yet )?(?:loaded|ready)\b",
    re.IGNORECASE,
)
"""What llama.cpp (`Loading model`), Ollama (`llm server loading model`) and Hugging Face's servers say meanwhile."""
_UNPARSED: Final = re.compile(
    r"model produced output that does not match|failed to parse input at pos|error parsing tool call", re.IGNORECASE
)
"""What llama.cpp and Ollama say, with 500, of what their model wrote: the server is well, and would say so again."""
_BAD_ACCOUNT: Final = re.compile(
    r"API_KEY_INVALID|API key not valid|incorrect(?: |%20)API(?: |%20)key"
    r"|credit balance is too low|\binsufficient balance\b|余额不足|\busage limits\b.{0,40}\bregain access\b"
    r"|\busers? location is not supported\b|\bunsupported countries\b|\borganization has been disabled\b",
    re.IGNORECASE,
)
"""
What comes with 400 where others answer 401, 402 or 403: Gemini (also of the country), Anthropic (also of a spending limit,
for the rest of the month), xAI (which may say it as in a URL), MiniMax.
"""
_PAID_UP: Final = re.compile(
    r"\binsufficient balance\b|余额不足|\bused all available credits\b|\bmonthly spending limit\b", re.IGNORECASE
)
"""What comes with 429 and does not pass by waiting: Zhipu, xAI."""
_FLAGGED: Final = re.compile(r"\bflagged(?:_input)?\b|\bmoderation\b", re.IGNORECASE)
"""With a 403 it is the input that is forbidden (OpenRouter), and not the key."""
_STATUS_TOLD: Final = re.compile(r"\bError code: ([45]\d\d) - \{")
"""How OpenAI's and Anthropic's Python libraries begin their errors, which gateways made with them pass on as a text."""

_LOADS: Final = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INTERNAL_SERVER_ERROR}
_OF_REQUESTS: Final[_Searches] = (
    (_TOO_LONG, FailureKind.TOO_LARGE),
    (_UNPARSED, FailureKind.INVALID_OUTPUT),
    (_BAD_ACCOUNT, FailureKind.AUTH),
)
_SEARCHES: Final[dict[int, _Searches]] = {
    HTTPStatus.BAD_REQUEST: (*_OF_REQUESTS, (_NO_SUCH_MODEL, FailureKind.UNKNOWN_MODEL)),
    HTTPStatus.UNPROCESSABLE_ENTITY: _OF_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR: _OF_REQUESTS,
    HTTPStatus.FORBIDDEN: ((_FLAGGED, FailureKind.REFUSED),),
    HTTPStatus.TOO_MANY_REQUESTS: ((_NEVER_FITS, FailureKind.TOO_LARGE), (_PAID_UP, FailureKind.AUTH)),
}


def kind_in_text(status: int, text: str) -> FailureKind | None:
    """The kind that an error's text tells; None where its status says it."""
    if status in _LOADS and _LOADING.search(text):
        return FailureKind.LOADING
    return next((kind for pattern, kind in _SEARCHES.get(status, ()) if pattern.search(text)), None)


def status_in_text(text: str) -> int | None:
    """The status that an error's text names, of an error that came inside a success."""
    match = _STATUS_TOLD.search(text)
    return None if match is None else int(match[1])
