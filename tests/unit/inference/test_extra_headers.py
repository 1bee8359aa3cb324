"""The headers that a gateway wants: what may be added, and that nothing of their values is repeated."""

from pathlib import Path

import pytest

from flotilla.inference.adapters.extra_headers import HEADERS_MAX, VALUE_CHARS_MAX, extra_headers

SECRET = "pk-5ecre7"  # noqa: S105  (a test's own)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("X-Team: search", {"X-Team": "search"}),
        (
            "api-key:5ecre7\n\n  # whose\r\n cf-aig-authorization : Bearer a:b \r\n",
            {"api-key": "5ecre7", "cf-aig-authorization": "Bearer a:b"},
        ),
        ("x_y: " + "v" * VALUE_CHARS_MAX, {"x_y": "v" * VALUE_CHARS_MAX}),
    ],
)
def test_headers_are_read_a_line_each(text: str, found: dict[str, str]):
    """
    As people write them, with blanks around and comments between.
    """
    assert found == extra_headers(text, None)


@pytest.mark.parametrize(
    "line",
    [
        SECRET,
        f": {SECRET}",
        f"a b: {SECRET}",
        f"X-Ü: {SECRET}",
        f"X-{'n' * 70}: {SECRET}",
        "X-Team:",
        f"X-Team: {SECRET}\x00",
        f"X-Team: {SECRET}\rHost: elsewhere",
        f"X-Team: {SECRET}\u2028",
        f"X-Team: {SECRET}é",
        f"X-Team: {SECRET}{'v' * VALUE_CHARS_MAX}",
        *(
            f"{name}: {SECRET}"
            for name in (
                *("Host", "content-length", "Content-Type", "Transfer-Encoding", "connection", "accept", "TE", "Range"),
                *("Authorization", "Proxy-Authorization", "accept-encoding", "user-agent", "anthropic-version"),
                *("upgrade", "trailer", "expect", "keep-alive", "content-encoding", "x-stainless-raw-response"),
            )
        ),
    ],
)
def test_what_is_no_header_to_add_is_refused_by_its_line(line: str):
    """
    A value may be a secret: none is repeated, not even where it stands in the name's place.
    """
    with pytest.raises(ValueError, match="FLOTILLA_PROVIDER_HEADERS: line 2: ") as refused:
        extra_headers(f"X-Other: well\n{line}", None)

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("text", ["X-A: 1\nx-a: 2", "\n".join(f"X-{n}: 1" for n in range(HEADERS_MAX + 1))])
def test_a_header_stands_once_and_there_are_only_so_many(text: str):
    """
    Of two values a server would take either.
    """
    with pytest.raises(ValueError, match=f"at most {HEADERS_MAX} headers, each once"):
        extra_headers(text, None)


def test_a_file_has_the_same_and_says_its_name_when_it_cannot_be_used(tmp_path: Path):
    """
    In place of the variable, never beside it.
    """
    file = tmp_path / "headers"
    file.write_text("X-Team: search\n")

    assert {"X-Team": "search"} == extra_headers(None, file)
    with pytest.raises(ValueError, match="expected one of them"):
        extra_headers("X-Team: search", file)
    with pytest.raises(ValueError, match=r"FLOTILLA_PROVIDER_HEADERS_FILE: .*nofile"):
        extra_headers(None, tmp_path / "nofile")
    file.write_bytes(b"#" * 100_000)
    with pytest.raises(ValueError, match="longer than"):
        extra_headers(None, file)
    file.write_bytes(b"X-Team: \xff\xfe")
    with pytest.raises(ValueError, match="line 1"):
        extra_headers(None, file)
