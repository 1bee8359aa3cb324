"""What to do next is said in one place, whoever says it: a command that failed, or `flotilla doctor`."""

import inspect
from pathlib import Path

import pytest

from flotilla.cli import doctor
from flotilla.cli.console import exits
from flotilla.cli.console.hints import NO_ROOM, way_in
from flotilla.client import errors
from flotilla.client.errors import (
    CertificateNotTrustedError,
    CredentialsRefusedError,
    CredentialsUnusableError,
    NoFleetError,
    NoOrchestratorError,
    NotAllowedError,
    UnconfirmedError,
)

URL = "nats://127.0.0.1:4222"
ERRORS = (
    NoFleetError(URL, "refused"),
    CredentialsRefusedError(URL, "refused"),
    CertificateNotTrustedError(URL, "refused"),
    NoOrchestratorError(URL, "nobody answers"),
    NotAllowedError(URL, "api.default.approvals"),
    CredentialsUnusableError(Path("seed.nk"), "no such file"),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_fleet_that_cannot_be_asked_comes_with_what_to_do(error: NoFleetError | CredentialsUnusableError):
    """
    Each way of having no fleet has a hint, and the command says it.
    """
    hint = way_in(error)
    assert hint
    assert [f"  {hint}"] == exits.explain(error)[1:]


def test_the_doctor_has_no_hints_of_its_own_for_them():
    """
    Two tables of the same hints would drift apart.
    """
    source = Path(inspect.getfile(doctor)).read_text(encoding="utf-8")
    kinds = {kind for kind, _ in inspect.getmembers(errors, inspect.isclass) if kind.endswith("Error")}

    assert {"FlotillaError", "NoFleetError", "CredentialsUnusableError"} == {kind for kind in kinds if kind in source}


def test_a_task_that_nobody_acknowledged_comes_with_where_to_look():
    """
    A server whose disk is full answers questions as ever, and stores nothing.
    """
    assert [f"  {NO_ROOM}"] == exits.explain(UnconfirmedError("classify", None))[1:]
