"""
The `flotilla` command: which commands there are, and how the process ends.

A command's module is imported when it is run, so that help and shell completion are quick.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final

from cyclopts import App, CycloptsError
from cyclopts.exceptions import UnknownCommandError, UnusedCliTokensError
from cyclopts.group import Group

from flotilla.cli.console import exits, terminal
from flotilla.cli.console.examples import BEGINNING, examples_of
from flotilla.contracts.errors import FlotillaError

_TASKS: Final = Group("Tasks", sort_key=1)
_FLEET: Final = Group("The fleet", sort_key=2)
_OTHER: Final = Group("Options", sort_key=9)

COMMANDS: Final = (
    ("ask", "Have a task done now; prints the answer.", _TASKS),
    ("submit", "Hand in durable tasks; prints their ids, or with --wait their results.", _TASKS),
    ("result", "Print the results of durable tasks.", _TASKS),
    ("tasks", "What was submitted from here lately, and where each task stands.", _TASKS),
    ("cancel", "Stop tasks, waiting or running.", _TASKS),
    ("redact", "Replace personal data in files by placeholders; says what was replaced.", _TASKS),
    ("vault", "What redacted documents are restored from: list, forget.", _TASKS),
    ("approvals", "What may not leave without a person's word: list, show, grant, deny, watch, key, sign.", _TASKS),
    ("audit", "What became of requests for approval: who decided what, when and why.", _TASKS),
    ("dead", "Tasks that could not be processed: list, show, retry, discard.", _TASKS),
    ("status", "The pools that are live and the backlog; or where one task stands.", _FLEET),
    ("watch", "Pools and events, live.", _FLEET),
    ("explain", "Where a task would go now, and why.", _FLEET),
    ("spend", "What tasks have cost, by pool, model, day, scope, capability or label.", _FLEET),
    ("policy", "The routing policy: get, check, set, unset, history, rollback.", _FLEET),
    ("replay", "Try policies on recorded traffic: accuracy, cost, latency of each.", _FLEET),
    ("experiment", "What may be concluded from live and recorded traffic: report, feedback, calibrate.", _FLEET),
    ("pipeline", "Capabilities made of steps, in files: check, list, show.", _FLEET),
    ("privacy", "Whether what must stay in the local zone stays there: prove.", _FLEET),
    ("blackboard", "Values that fleet and callers share: get, set, update, delete, list, watch, history.", _FLEET),
    ("doctor", "What is wrong with models, keys, NATS or the clock, and the line that mends it.", _FLEET),
    ("up", "Run a whole fleet on this machine.", _FLEET),
    ("bench", "Measure a fleet on this machine against plain NATS.", _FLEET),
)
"""Name, help and group; `_home` says where the function is."""
_NAMES: Final = frozenset(name for name, *_ in COMMANDS)

HOMES: Final = ("flotilla.cli.commands.{0}", "flotilla.cli.{0}.command")

_HELP: Final = """Have work done by the fleet: local models and cloud models behind one NATS server.

Exit codes: 0 ok, 1 the task failed, 2 usage, 3 no fleet.
"""
APPS: Final = frozenset({"approvals", "blackboard", "dead", "experiment", "pipeline", "policy", "privacy", "vault"})
"""Commands that have commands of their own; these bring their examples along."""


def build() -> App:
    """The command line, nothing of it imported yet."""
    app = App(
        name="flotilla",
        help=_HELP,
        help_format="plaintext",
        help_epilogue=BEGINNING,
        version=_version,
        group_parameters=_OTHER,
        group_commands=_OTHER,
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for name, text, group in COMMANDS:
        home = _home(name)
        if home is not None:
            more = {} if name in APPS else {"help_epilogue": examples_of(name)}
            app.command(f"{home}:{name}", name=name, help=text, group=group, **more)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    # What goes wrong is told in the command's own words; a log on top of them would only confuse.
    logging.getLogger("flotilla").addHandler(logging.NullHandler())
    logging.getLogger("nats").addHandler(logging.NullHandler())
    terminal.prepare()
    try:
        code = build()(tokens)
    except CycloptsError as error:
        return exits.report(exits.UsageError(_mistake(error)), as_json="--json" in tokens)
    except FlotillaError as error:
        command = next((token for token in tokens if token in _NAMES), "")
        return exits.report(error, as_json="--json" in tokens, command=command)
    except UnicodeEncodeError:
        mistake = exits.UsageError("an argument or a document holds bytes or escapes that are no characters; use UTF-8")
        return exits.report(mistake, as_json="--json" in tokens)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.BROKEN_PIPE
    return code if isinstance(code, int) else exits.OK


def _home(name: str) -> str | None:
    for home in HOMES:
        with suppress(ModuleNotFoundError):
            if find_spec(home.format(name)) is not None:
                return home.format(name)
    return None


def _mistake(error: CycloptsError) -> str:
    if isinstance(error, UnknownCommandError):
        # Its own text would import every command to list them.
        given = (error.unused_tokens or ["?"])[0]
        meant = exits.close_to(given, [name for name, *_ in COMMANDS])
        return f"there is no command {given}; " + (f"did you mean {meant}?" if meant else "--help lists them")
    if isinstance(error, UnusedCliTokensError):
        return f"more than it takes: {' '.join(error.unused_tokens or ())}; --help says what it takes"
    # Cyclopts speaks in a sentence that may span lines of a panel.
    return f"{' '.join(str(error).split())} --help says more."


def _version() -> str:
    return f"flotilla {version('flotilla-cli')}"
