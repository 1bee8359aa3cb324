"""`flotilla redact`: documents without the personal data in them, and what was replaced."""

import secrets
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from flotilla.capabilities.json_schema import flaw_of
from flotilla.chassis.private_files import make_directory, replace_file
from flotilla.chassis.terminal_text import encodable
from flotilla.cli.console import exits, readable, terminal
from flotilla.cli.console.arguments import NO_WHERE, SOURCES, Where
from flotilla.cli.console.documents import STDIN, check_encoding, expand, read
from flotilla.cli.console.outcomes import JOBS_DEFAULT, JOBS_MAX, in_parallel, progress
from flotilla.cli.console.tables import table
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.redaction import VAULT_LIFETIME_S_DEFAULT, Found, RedactInput, RedactOutput

if TYPE_CHECKING:
    from flotilla.client.fleet import Fleet

SUFFIX: Final = ".redacted"
TEXTS: Final = (".txt", ".md", ".csv", ".json")


class _Done(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one file."""

    file: str
    written: str = ""
    vault: str = ""
    found: list[Found] = []
    expires_unix_ms: int = 0
    error: ErrorBody | None = None


async def redact(  # noqa: D417  (groups of options say it themselves)
    *sources: SOURCES,
    out: Path | None = None,
    case: str | None = None,
    language: str | None = None,
    lifetime_s: int = VAULT_LIFETIME_S_DEFAULT,
    encoding: str | None = None,
    jobs: int = JOBS_DEFAULT,
    where: Where = NO_WHERE,
) -> int:
    """
    Replace personal data in documents by placeholders; says what was replaced, by type.

    The text of one file, or of standard input, goes to standard output. Those of a folder, or of several files, are
    written into another folder, where one value has the same placeholder in all of them. `flotilla ask restore` puts the
    values back, for as long as the vault lives.

    Parameters
    ----------
    sources
        Files, folders, or - for standard input: text, PDF, Word or HTML.
    out
        The folder to write into; by default the one that is read, with .redacted at its end.
    case
        A name of your own: documents of one case have the same placeholders, whenever they are redacted.
    language
        Of the documents (en, de, fr or es); any accepts that names of another one may be missed.
    lifetime_s
        How long the values can be put back after the last document; at most seven days.
    encoding
        Of the files, where it is not to be guessed.
    jobs
        How many at a time.
    """
    if not 1 <= jobs <= JOBS_MAX:
        raise exits.UsageError(f"--jobs {jobs}: expected 1 to {JOBS_MAX}")
    if not sources:
        raise exits.UsageError("give a FILE, a folder, or - for standard input")
    check_encoding(encoding)
    files = expand(sources)
    given: dict[str, Any] = {"lifetime_s": lifetime_s, "language": language, "case": case}
    _check(given)
    if files == [*sources] and len(files) == 1 and out is None:
        return await _print(where, files[0], encoding, given)
    given["case"] = case or f"flotilla-{secrets.token_hex(8)}"
    places = _places(sources, files, out)
    async with where.fleet() as fleet:

        async def one(file: str) -> _Done:
            try:
                found = await _redacted(fleet, file, encoding, given)
                _write(places[file], found)
            except TaskError as error:
                return _Done(file=file, error=error.body)
            return _Done(
                file=file,
                written=str(places[file]),
                vault=found.vault,
                found=found.found,
                expires_unix_ms=found.expires_unix_ms,
            )

        done: list[_Done] = []
        with progress(len(files), shown=not where.json) as advance:
            async for each in in_parallel(one, files, jobs):
                advance()
                done.append(each)
                if where.json:
                    terminal.json_line(msgspec.json.encode(msgspec.structs.replace(each, file=encodable(each.file))))
    if not where.json:
        _report(done)
    return exits.FAILED if any(each.error for each in done) else exits.OK


def _check(given: dict[str, Any]) -> None:
    """
    Refuse what no fleet would take, before a file is read.

    Raises:
        UsageError: With the option.
    """
    try:
        msgspec.convert({"document": "", **given}, RedactInput)
    except msgspec.ValidationError as error:
        flaw = flaw_of(error)
        raise exits.UsageError(f"--{flaw.path.removeprefix('$.').replace('_', '-')}: {flaw.expected}") from error


def _places(sources: Sequence[str], files: Sequence[str], out: Path | None) -> dict[str, Path]:
    """
    Where each file's text is written.

    Raises:
        UsageError: Standard input has no name, or two files would be one.
    """
    if STDIN in files:
        raise exits.UsageError("standard input goes alone, and to standard output")
    roots = [Path(source) for source in sources if Path(source).is_dir()]
    if out is None:
        first = roots[0] if roots else Path(files[0]).parent
        out = first.absolute().with_name(first.absolute().name + SUFFIX)
    places: dict[str, Path] = {}
    for file in files:
        root = next((root for root in roots if Path(file).is_relative_to(root)), Path(file).parent)
        name = str(Path(file).relative_to(root))
        # What is written is text, whatever was read.
        places[file] = out / (name if name.endswith(TEXTS) else f"{name}.txt")
    if len(set(places.values())) < len(places):
        raise exits.UsageError("two files have one name: redact their folders one by one")
    return places


async def _print(where: Where, file: str, encoding: str | None, given: dict[str, Any]) -> int:
    async with where.fleet() as fleet:
        found = await _redacted(fleet, file, encoding, given)
    if where.json:
        terminal.json_line(msgspec.json.encode(found))
    else:
        terminal.write(str(found.document))
        terminal.aside(readable.redaction(found))
    return exits.OK


async def _redacted(fleet: "Fleet", file: str, encoding: str | None, given: dict[str, Any]) -> RedactOutput:
    text = read(file, encoding)
    answer = await fleet.ask("redact", {"document": text, **{name: value for name, value in given.items() if value}})
    return answer.output_as(RedactOutput)


def _write(place: Path, found: RedactOutput) -> None:
    make_directory(place.parent, close=False)
    replace_file(place, str(found.document).encode())


def _report(done: Sequence[_Done]) -> None:
    by_type: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    for each in done:
        for found in each.found:
            by_type[found.type] += found.count
            documents[found.type] += 1
    table(
        ("type", "replaced", "documents"),
        [(name, f"{count:,}", f"{documents[name]:,}") for name, count in by_type.most_common()],
    )
    for each in done:
        if each.error is not None:
            # What was said of reading it begins with its name.
            said = each.error.message.removeprefix(f"{each.file}: ")
            terminal.error((f"{each.file}: {each.error.kind.value}: {said}",))
    ok = [each for each in done if each.error is None]
    terminal.aside(f"{len(ok):,} of {len(done):,} redacted")
    if ok:
        folder = Path(ok[0].written).parent
        until = readable.moment(max(each.expires_unix_ms for each in ok))
        terminal.aside(f"written into {folder}; vault {ok[0].vault} until {until}")
