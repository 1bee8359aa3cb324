"""The headers of a task: decoded to what they say, or refused with the name of the header; never anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.errors import BadRequestError
from flotilla.contracts.header_names import holds_an_option, is_lookalike
from flotilla.contracts.headers import KNOWN, LABELS_MAX, NO_OPTIONS, TaskOptions, parse_headers

NAMES = st.one_of(
    st.sampled_from([*KNOWN, "Nats-Msg-Id", "traceparent", "tracestate", "Flotilla-Label-A", "flotilla-stream"]),
    st.text(min_size=1, max_size=40),
    st.text(min_size=0, max_size=20).map("Flotilla-".__add__),
)
VALUES = st.one_of(
    st.text(max_size=300),
    st.sampled_from(["true", "false", "restricted", "public", "use", "ollama/llama3.1:8b", "60000", "0", "-1", "١٢"]),
)


@given(st.dictionaries(NAMES, VALUES, max_size=20))
def test_any_headers_are_options_or_a_bad_request(given_headers: dict[str, str]):
    """
    No other exception, and the refusal names a header that was there.
    """
    try:
        parse_headers(given_headers)
    except BadRequestError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        path = str(refused.details["path"]).removeprefix("header ")
        assert any(name.startswith(path) for name in given_headers)
        assert refused.details["expected"]
        return
    options = parse_headers(given_headers)
    assert options.deadline_ms is None or options.deadline_ms >= 1
    assert options.data_class in {None, "public", "internal", "restricted"}
    assert len(options.labels) <= LABELS_MAX
    assert (options.route_model is None) or options.route_pool is not None


@given(st.text(min_size=1).map("Flotilla-".__add__), VALUES)
def test_an_unknown_option_never_passes_silently(name: str, value: str):
    """
    Whatever begins with the prefix and is not known is refused: it might have been a privacy option.
    """
    known = {each.lower() for each in KNOWN}
    if name.lower() in known or name.lower().startswith("flotilla-label-"):
        return
    with pytest.raises(BadRequestError):
        parse_headers({name: value})


@given(st.text(max_size=40))
def test_a_data_class_is_one_of_three_words_exactly(value: str):
    """
    Another spelling is refused, not taken for the default.
    """
    if value in {"public", "internal", "restricted"}:
        assert parse_headers({"Flotilla-Data-Class": value}).data_class == value
    else:
        with pytest.raises(BadRequestError):
            parse_headers({"Flotilla-Data-Class": value})


FOREIGN = st.text(max_size=20).map("X-".__add__).filter(lambda name: not is_lookalike(name))


@given(st.dictionaries(FOREIGN, st.text(max_size=20).filter(lambda value: not holds_an_option(value))))
def test_foreign_headers_are_ignored(given_headers: dict[str, str]):
    """
    Clients and the server add their own.
    """
    assert parse_headers(given_headers) == TaskOptions()
    assert parse_headers(None) is NO_OPTIONS


@pytest.mark.parametrize(
    ("given_headers", "expected"),
    [
        ({"Flotilla-Route": "ollama"}, TaskOptions(route_pool="ollama")),
        ({"Flotilla-Route": "ollama/a/b:c"}, TaskOptions(route_pool="ollama", route_model="a/b:c")),
        ({"FLOTILLA-STREAM": "true"}, TaskOptions(stream=True)),
        ({"flotilla-label-Team": "x"}, TaskOptions(labels={"Team": "x"})),
        ({"Flotilla-Deadline-Ms": "250"}, TaskOptions(deadline_ms=250)),
        ({"Nats-Msg-Id": "any thing"}, TaskOptions(task_id="any thing")),
        ({"Flotilla-Sticky": "user-1", "Flotilla-Cache": "refresh"}, TaskOptions(sticky="user-1", cache="refresh")),
    ],
)
def test_what_is_asked_for_is_understood(given_headers: dict[str, str], expected: TaskOptions):
    """
    Names without regard to case, values exactly.
    """
    assert parse_headers(given_headers) == expected


@pytest.mark.parametrize("value", ["0", "-1", "+5", "1.5", "1e3", " 5", "5 ", "١٢", "", "9" * 13])
def test_a_deadline_is_a_whole_number_of_milliseconds(value: str):
    """
    Digits of other scripts are numbers to Python, not to the wire.
    """
    with pytest.raises(BadRequestError):
        parse_headers({"Flotilla-Deadline-Ms": value})


def test_the_same_option_in_two_spellings_is_refused():
    """
    Which of them counts must not be a matter of luck.
    """
    with pytest.raises(BadRequestError):
        parse_headers({"Flotilla-Data-Class": "public", "flotilla-data-class": "restricted"})
