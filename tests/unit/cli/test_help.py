"""What the command says of itself."""

import shlex

import pytest
from cyclopts import App

from flotilla.cli.command import APPS, COMMANDS, build, main
from flotilla.cli.console.examples import examples_of
from flotilla.cli.console.exits import explain
from flotilla.client.answers import Answer
from flotilla.client.errors import TaskFailedError
from flotilla.contracts.capabilities import BUILT_IN
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.contracts.results import AttemptReport, Result

NAMES = [name for name, *_ in COMMANDS]


def lines_of(epilogue: str) -> list[str]:
    """The lines to copy."""
    return [line.strip() for line in epilogue.splitlines()[2:]]


def help_of(*command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What `--help` prints."""
    assert main([*command, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_examples_of_its_own_that_are_right(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    In its help, and read by the command line as they stand.
    """
    shown = help_of(name, capsys=capsys)
    lines = lines_of(examples_of(name))

    assert shown.rstrip().endswith(lines[-1])
    for line in lines:
        _, *words = shlex.split(line.rpartition("| ")[2])
        assert words[0] == name
        app: App = build()
        app.parse_args(words, exit_on_error=False, print_error=False)


def test_a_command_of_a_command_shows_the_examples_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    """
    And not those for somebody who has not begun.
    """
    shown = help_of("policy", "set", capsys=capsys)

    assert "flotilla policy set policy.toml" in shown
    assert "flotilla up" not in shown


@pytest.mark.parametrize("name", sorted(APPS))
def test_the_list_of_commands_names_what_a_command_has_in_it(name: str) -> None:
    """
    All of it: what is not named there is not found.
    """
    (text,) = [text for known, text, _ in COMMANDS if known == name]
    has = {command for command in build()[name] if not command.startswith("-")}

    assert has == set(text.rstrip(".").rpartition(": ")[2].split(", "))


def test_help_names_the_capabilities_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """
    All of them, and none that there is not yet.
    """
    words = set(help_of("ask", capsys=capsys).replace(",", " ").split())

    assert {*BUILT_IN, *LOCAL_CAPABILITIES} <= words


@pytest.mark.parametrize(("given", "meant"), [("stauts", "status"), ("sumbit", "submit"), ("polcy", "policy")])
def test_a_misspelt_command_is_told_what_was_meant(given: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    One that is like none is not.
    """
    assert main([given]) == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err
    assert main(["xyzzy"]) == 2
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("details", "meant"),
    [
        ({"capability": "clasify", "known": ["chat", "classify"]}, "classify"),
        ({"capability": "sumarise", "known": ["chat", "summarize"]}, "summarize"),
        ({"capability": "xyzzy", "known": ["chat", "classify"]}, ""),
        ({"known": ["chat"]}, ""),
        ({"capability": 7, "known": [7, None]}, ""),
        ({}, ""),
    ],
)
def test_a_misspelt_capability_is_told_what_was_meant(details: dict[str, object], meant: str) -> None:
    """
    Of those that the fleet knows; a fleet that says something else breaks nothing.
    """
    lines = explain(TaskError(ErrorKind.UNKNOWN_CAPABILITY, "no such capability", details=details))

    assert [line.strip() for line in lines if "did you mean" in line] == ([f"did you mean {meant}?"] if meant else [])


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("dead", "flotilla dead list"),
        ("result", "flotilla tasks"),
        ("cancel", "flotilla tasks"),
        ("policy", "flotilla policy history"),
        ("approvals", "flotilla approvals list"),
    ],
)
def test_what_is_not_found_is_said_with_where_to_look(command: str, hint: str) -> None:
    """
    A name that was mistyped is seen there.
    """
    assert hint in "".join(explain(TaskError(ErrorKind.NOT_FOUND, "task x is not known"), command))


@pytest.mark.parametrize(
    ("outcome", "hint"),
    [
        ("auth", "flotilla doctor"),
        ("unknown_model", "ollama pull"),
        ("invalid_output", "--route"),
        ("refused", "--route"),
        ("unavailable", "try again later"),
        ("rate_limited", "try again later"),
    ],
)
def test_what_waiting_does_not_mend_is_not_told_to_wait(outcome: str, hint: str) -> None:
    """
    By what the last attempt failed of.
    """
    body = ErrorBody(kind=ErrorKind.PROVIDER_FAILED, message="every route failed", retryable=True, details={})
    attempts = [
        AttemptReport(pool="p", model="m", outcome=each, latency_ms=1.0, reason="") for each in ("unavailable", outcome)
    ]
    result = Result(task="a", capability="chat", status="failed", error=body, attempts=attempts)
    hints = explain(TaskFailedError(body, Answer(result)))[3:]

    assert [True] == [hint in line for line in hints]
    assert ("later" in hint) == ("later" in hints[0])
