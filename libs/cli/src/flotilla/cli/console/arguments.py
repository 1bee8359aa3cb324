"""Arguments that several commands have. The type of each is what cyclopts reads; the docstrings are the help."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter
from cyclopts.group import Group

from flotilla.cli.console.exits import UsageError
from flotilla.client.addresses import DEFAULT_URL
from flotilla.client.options import AskOptions
from flotilla.contracts.headers import Cache, DataClass

if TYPE_CHECKING:
    from flotilla.client.fleet import Fleet

CONNECT_PATIENCE_S: Final = 2.0

_CONNECTION: Final = Group("Connection", sort_key=4)
_INPUT: Final = Group("Input", sort_key=1)
_FIELDS: Final = Group("Fields of the input", sort_key=2)
_TASK: Final = Group("Task", sort_key=3)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Where:
    """Which fleet, and how to answer."""

    url: Annotated[str, Parameter(env_var="FLOTILLA_NATS_URL", group=_CONNECTION)] = DEFAULT_URL
    """Of the NATS server; several with commas between."""

    creds: Annotated[Path | None, Parameter(env_var="FLOTILLA_NATS_CREDS", group=_CONNECTION)] = None
    """An nkey seed file, or a .creds file."""

    tls_ca: Annotated[Path | None, Parameter(env_var="FLOTILLA_NATS_TLS_CA", group=_CONNECTION)] = None
    """The CA's certificate of a server with TLS (tls://...), where this machine does not know it."""

    scope: Annotated[str | None, Parameter(group=_CONNECTION)] = None
    """With the credentials of the fleet's admin: the tenant that is meant."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Write for programs: one JSON object per line."""

    @asynccontextmanager
    async def fleet(self) -> AsyncGenerator["Fleet"]:
        """
        A connection to it.

        Raises:
            UsageError: The URL is none; it is not repeated, since it may hold a password.
        """
        from flotilla.client.fleet import Fleet  # noqa: PLC0415  (--help needs no NATS client)
        from flotilla.fabric.connection import URL_EXPECTED, is_url  # noqa: PLC0415

        if not is_url(self.url):
            raise UsageError(f"--url (or FLOTILLA_NATS_URL): {URL_EXPECTED}")
        connecting = Fleet.connect(
            self.url,
            creds=self.creds,
            tls_ca=self.tls_ca,
            scope=self.scope,
            name="flotilla-command",
            connect_patience_s=CONNECT_PATIENCE_S,
        )
        async with connecting as fleet:
            yield fleet


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Fields:
    """The input of a task, apart from the documents."""

    text: Annotated[str | None, Parameter(group=_INPUT)] = None
    """The text itself, in place of a FILE."""

    input: Annotated[str | None, Parameter(group=_INPUT)] = None
    """Fields of the input as a JSON object, or @FILE with one; a document is added to them."""

    set: Annotated[list[str] | None, Parameter(group=_INPUT, negative="")] = None
    """KEY=VALUE: one more field of the input; VALUE is JSON, or else text. May be repeated."""

    field: Annotated[str | None, Parameter(group=_INPUT)] = None
    """The field that takes a FILE's text, for capabilities of your own; `document` unless given."""

    encoding: Annotated[str | None, Parameter(group=_INPUT)] = None
    """Of the files, such as cp1252. Unless given: UTF-8, or what is detected."""

    labels: Annotated[str | None, Parameter(group=_FIELDS)] = None
    """classify: the classes, with commas between."""

    multi: Annotated[bool, Parameter(group=_FIELDS, negative="")] = False
    """classify: every label that applies, not just the best."""

    types: Annotated[str | None, Parameter(group=_FIELDS)] = None
    """extract-entities: what to look for, with commas between."""

    max_words: Annotated[int | None, Parameter(group=_FIELDS)] = None
    """summarize: at most so many words."""

    style: Annotated[str | None, Parameter(group=_FIELDS)] = None
    """summarize: how it should read."""

    target: Annotated[str | None, Parameter(group=_FIELDS)] = None
    """translate: the language to translate to, such as de or pt-BR."""

    instruction: Annotated[str | None, Parameter(group=_FIELDS)] = None
    """synthesize, generate-code: what is wanted."""

    language: Annotated[str | None, Parameter(group=_FIELDS)] = None
    """generate-code: the programming language."""

    question: Annotated[str | None, Parameter(group=_FIELDS)] = None
    """reason: the question; a FILE is then what is known."""

    context: Annotated[str | None, Parameter(group=_FIELDS)] = None
    """reason, generate-code: what is known."""

    def named(self) -> dict[str, object]:
        """The fields that have an option of their own and were given."""
        found: dict[str, object] = {
            "labels": None if self.labels is None else _list(self.labels),
            "multi": self.multi or None,
            "types": None if self.types is None else _list(self.types),
            "max_words": self.max_words,
            "style": self.style,
            "target": self.target,
            "instruction": self.instruction,
            "language": self.language,
            "question": self.question,
            "context": self.context,
        }
        return {name: value for name, value in found.items() if value is not None}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What is asked for besides the work."""

    deadline_s: Annotated[float | None, Parameter(group=_TASK)] = None
    """Seconds until nobody wants the answer."""

    data_class: Annotated[DataClass | None, Parameter(group=_TASK)] = None
    """restricted never leaves your own hardware; internal is the default."""

    route: Annotated[str | None, Parameter(group=_TASK)] = None
    """POOL or POOL/MODEL: ask for a route; policy and data class still rule."""

    label: Annotated[list[str] | None, Parameter(group=_TASK, negative="")] = None
    """KEY=VALUE: a label that goes along to events and results. May be repeated."""

    sticky: Annotated[str | None, Parameter(group=_TASK)] = None
    """Tasks with the same key take the same branch of a split."""

    cache: Annotated[Cache | None, Parameter(group=_TASK)] = None
    """use: an earlier answer to the same input will do. refresh: make a new one, to be kept. off: neither."""

    approval: Annotated[str | None, Parameter(group=_TASK)] = None
    """A grant for this very input (flotilla approvals sign), where a worker asks for one."""

    def options(self) -> AskOptions:
        """
        As the library takes them.

        Raises:
            UsageError: A label is not KEY=VALUE.
        """
        return AskOptions(
            deadline_s=self.deadline_s,
            data_class=self.data_class,
            route=self.route,
            sticky=self.sticky,
            cache=self.cache,
            approval=self.approval,
            labels=labels_of(self.label),
        )


def labels_of(given: list[str] | None) -> dict[str, str]:
    """
    Labels from the command line.

    Raises:
        UsageError: One is not KEY=VALUE.
    """
    return dict(_pair(label, "--label") for label in given or ())


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{option} {text}: expected KEY=VALUE")
    return name, value


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


NO_WHERE: Final = Where()
NO_FIELDS: Final = Fields()
NO_WISHES: Final = Wishes()


def _no_option(_kind: object, value: object) -> None:
    # A lone hyphen is standard input, so words with a hyphen reach the sources: a misspelt option must not.
    for source in value if isinstance(value, tuple) else (value,):  # pyright: ignore[reportUnknownVariableType]
        if isinstance(source, str) and source.startswith("-") and source != "-":
            raise UsageError(f"there is no option {source.partition('=')[0]}; --help lists them")


SOURCES = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_no_option)]
"""Files, folders, - for standard input, or JSON objects."""
