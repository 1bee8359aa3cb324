"""Seed files: made once, kept, and closed to everybody else."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flotilla.fabric.errors import CredentialsError
from flotilla.fabric.seed_files import public_key_of
from flotilla.provisioning.credentials import load_or_create


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_user_gets_a_seed_file_that_only_the_owner_reads(tmp_path: Path):
    """A directory of mode 0700, files of mode 0600, one key each."""
    made = load_or_create(tmp_path / "credentials", ["orchestrator", "cloud.anthropic"])

    assert mode(made.directory) == 0o700
    assert {mode(made.path(user)) for user in made.public_keys} == {0o600}
    assert len(set(made.public_keys.values())) == 2
    assert made.path("orchestrator").read_bytes().startswith(b"SU")
    assert sorted(path.name for path in made.directory.iterdir()) == ["cloud.anthropic.nk", "orchestrator.nk"]


def test_a_second_start_has_the_same_users_and_makes_those_that_are_new(tmp_path: Path):
    """Credentials that were handed out stay valid."""
    first = load_or_create(tmp_path, ["admin"])
    second = load_or_create(tmp_path, ["admin", "observer"])

    assert second.public_key("admin") == first.public_key("admin")
    assert second.public_key("observer") == public_key_of(second.path("observer").read_bytes().strip())


def test_starts_at_the_same_time_agree_on_one_key(tmp_path: Path):
    """The first file wins, whole."""
    users = [f"user{number}" for number in range(10)]
    with ThreadPoolExecutor(8) as pool:
        starts = [pool.submit(load_or_create, tmp_path, users) for _ in range(8)]
    made = [start.result().public_keys for start in starts]

    assert all(keys == made[0] for keys in made)


def test_an_open_file_is_closed_again(tmp_path: Path):
    """What others could read is tightened when it is loaded."""
    path = load_or_create(tmp_path, ["admin"]).path("admin")
    path.chmod(0o644)
    tmp_path.chmod(0o755)

    load_or_create(tmp_path, ["admin"])

    assert (mode(path), mode(tmp_path)) == (0o600, 0o700)


@pytest.mark.parametrize("user", ["../admin", "a/b", "", ".hidden", "a\nb", "x" * 200, 'a"b'])
def test_a_name_that_could_leave_the_directory_is_refused(tmp_path: Path, user: str):
    """A user's name becomes a file name."""
    with pytest.raises(CredentialsError):
        load_or_create(tmp_path, [user])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [0, 2, 30, 56])
@pytest.mark.parametrize("rest", [b"", b"AAAA", b"!!"])
def test_a_damaged_seed_is_refused_without_showing_it(tmp_path: Path, kept: int, rest: bytes):
    """Said where it is, not what it holds."""
    path = load_or_create(tmp_path, ["admin"]).path("admin")
    seed = path.read_bytes().strip()
    path.write_bytes(seed[:kept] + rest)

    with pytest.raises(CredentialsError) as refused:
        load_or_create(tmp_path, ["admin"])

    assert str(path) in str(refused.value)
    assert seed[:30].decode() not in str(refused.value)


def test_a_seed_with_one_wrong_character_is_refused(tmp_path: Path):
    """Its checksum says so; taken as it is, it would be the key of a user whom no server knows."""
    path = load_or_create(tmp_path, ["admin"]).path("admin")
    seed = path.read_bytes()
    path.write_bytes(seed[:20] + (b"A" if seed[20:21] != b"A" else b"B") + seed[21:])

    with pytest.raises(CredentialsError, match="not the seed of a user"):
        load_or_create(tmp_path, ["admin"])


def test_an_unknown_user_is_an_error(tmp_path: Path):
    """No path is made up."""
    with pytest.raises(CredentialsError, match="no such user"):
        load_or_create(tmp_path, ["admin"]).path("observer")
