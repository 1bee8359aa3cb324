"""TOML of others is read in time that is in proportion to its length."""

import pytest

from flotilla.contracts.toml_text import KEY_PARTS_MAX, read_toml

QUOTED = '"a" . '
LONG = "a" * 200 + "."


def test_what_is_written_is_read():
    """
    Keys of a few parts, dots in texts, and whatever else TOML has.
    """
    deep = ".".join(["a"] * KEY_PARTS_MAX)

    assert {"a": {"b": {"c": "1.2.3. And so on."}}, "d": [1.5]} == read_toml('a.b.c = "1.2.3. And so on."\nd = [1.5]\n')
    assert "a" in read_toml(f"{deep} = 1")


@pytest.mark.parametrize(
    "text",
    [
        "a." * 100_000 + "a = 1",
        f"x = 1\n[{'a.' * 1_000}a]",
        f"x = {{ {QUOTED * 1_000}a = 1 }}",
        LONG * 1_000 + "a = 1",
        "'a'." * 1_000 + "a = 1",
    ],
)
def test_keys_of_many_parts_are_refused_before_the_parser_has_them(text: str):
    """
    Which would take it minutes.
    """
    with pytest.raises(ValueError, match=r"a key of more than 64 parts \(at line \d\)"):
        read_toml(text)


@pytest.mark.parametrize("text", ["[" * 100_000, "a = " + "[" * 5_000, "a", "\0", '"' * 100_000])
def test_what_is_no_toml_is_refused(text: str):
    """
    With one error, whatever is wrong.
    """
    with pytest.raises(ValueError, match=r".+"):
        read_toml(text)
