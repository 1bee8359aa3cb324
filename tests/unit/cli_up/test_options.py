"""What `flotilla up` refuses."""

from pathlib import Path

import msgspec
import pytest

from flotilla.cli.supervisor.errors import OptionError
from flotilla.cli.supervisor.options import UpOptions, check
from flotilla.cli.up import up
from flotilla.fabric.connection import NatsSettings


def test_the_defaults_make_sense():
    """
    `flotilla up` alone is a whole fleet.
    """
    options = UpOptions()

    check(options)
    assert (options.port, options.orchestrators, options.local, options.cloud) == (4222, 1, 1, 1)
    assert options.engine == "auto"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"port": -1}, "--port -1: expected 0 to 65535"),
        ({"port": 65536}, "--port 65536: expected 0 to 65535"),
        ({"orchestrators": 0}, "--orchestrators 0: expected 1 to 256"),
        ({"local": -1}, "--local -1: expected 0 to 256"),
        ({"cloud": 257}, "--cloud 257: expected 0 to 256"),
        ({"slots": 0}, "--slots 0: expected 1 to 4096"),
        ({"engine": "magic"}, "--engine magic: expected one of auto, embedded, noop"),
        ({"engine_latency_ms": -1.0}, "--engine-latency-ms -1: expected 0 to 600000"),
        ({"engine_jitter": 1.5}, "--engine-jitter 1.5: expected 0 to 1"),
        ({"engine_failure_rate": float("nan")}, "--engine-failure-rate nan: expected 0 to 1"),
        ({"grace_s": -0.5}, "--grace-s -0.5: expected 0 to 86400"),
        ({"sealed_scopes": "acme"}, "--sealed-scopes: nobody would serve them; give --sealed 1 too"),
        (
            {"sealed": 1, "sealed_scopes": "acme,a.b"},
            "--sealed-scopes a.b: expected names of 1 to 63 of A-Za-z0-9_-, not FLEET or SYS",
        ),
        ({"log_level": "loud"}, "--log-level loud: expected one of debug, info, warning, error"),
        ({"pull": True}, "--pull: expected --local-models, and an engine that uses them (--engine auto)"),
        ({"policy": Path("/no/such/file")}, "--policy /no/such/file: there is no such file"),
        ({"capabilities": Path("/no/such/folder")}, "--capabilities /no/such/folder: there is no such folder"),
    ],
)
def test_an_option_that_makes_no_sense_is_named_with_what_was_expected(change: dict[str, object], expected: str):
    """
    One line that says what to change.
    """
    with pytest.raises(OptionError) as refused:
        check(msgspec.structs.replace(UpOptions(), **change))

    assert str(refused.value) == expected


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path):
    """
    Before anything is started.
    """
    (tmp_path / "file").touch()

    with pytest.raises(OptionError, match="not a folder"):
        check(UpOptions(directory=tmp_path / "file"))


def test_up_gives_2_and_one_line_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """
    The exit code and the line are those of the wire's contract.
    """
    assert up(UpOptions(directory=tmp_path / "fleet", orchestrators=0)) == 2

    assert capsys.readouterr() == ("", "flotilla: --orchestrators 0: expected 1 to 256\n")
    assert not (tmp_path / "fleet").exists()


def test_a_file_that_is_no_policy_is_refused_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """
    One line with the key of the first fault, and how many more there are.
    """
    policy = tmp_path / "policy.toml"
    policy.write_text('[default]\nstrategi = "failover"\nreturn_after_s = -1\n')

    assert up(UpOptions(directory=tmp_path / "fleet", policy=policy)) == 2

    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith(f"flotilla: --policy {policy}:2: default.strategi: unknown key (did you mean strategy?)")
    assert "1 more" in line
    assert not (tmp_path / "fleet").exists()


def test_a_capability_file_that_is_none_is_refused_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """
    Every service would refuse it, each in a line of its own.
    """
    folder = tmp_path / "capabilities"
    folder.mkdir()
    (folder / "broken.toml").write_text("name = ")

    assert up(UpOptions(directory=tmp_path / "fleet", capabilities=folder)) == 2

    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith(f"flotilla: --capabilities {folder / 'broken.toml'}:1: expected TOML")
    assert not (tmp_path / "fleet").exists()


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """
    One line with the system's reason, no traceback.
    """
    (tmp_path / "file").touch()

    async def unused(_path: Path, _settings: NatsSettings) -> None:
        raise AssertionError

    assert up(UpOptions(directory=tmp_path / "file" / "fleet", engine="noop"), apply_policy=unused) == 2

    assert "Not a directory" in capsys.readouterr().err
