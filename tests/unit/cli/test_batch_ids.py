"""The ids of a folder's tasks."""

from hypothesis import given
from hypothesis import strategies as st

from flotilla.cli.console.batch_ids import BatchIds
from flotilla.client.batches import BATCH_LENGTH_MAX
from flotilla.client.options import SubmitOptions
from flotilla.contracts.names import check_task_id

FILES = st.lists(
    st.tuples(st.sampled_from(["a.txt", "b.txt", "x/a.txt", "x/b.txt"]), st.sampled_from(["", "one", "two"]))
)


def ids_of(files: list[tuple[str, str]], batch: str = "night", **options: str) -> list[str]:
    ids = BatchIds(batch, "summarize", SubmitOptions(**options))  # pyright: ignore[reportArgumentType]
    return [ids.of(file, {"document": text}) for file, text in files]


@given(files=FILES, more=FILES, at=st.integers(0, 10))
def test_a_file_keeps_its_id_whatever_else_is_in_the_folder(
    files: list[tuple[str, str]], more: list[tuple[str, str]], at: int
) -> None:
    """
    An id stands for one input, is given once, and the ids of some files are among those of more.
    """
    together = [*files[:at], *more, *files[at:]]
    ids = ids_of(together)

    assert len(set(ids)) == len(ids)
    assert set(ids_of(files)) <= set(ids)
    text_of = dict(zip(ids, (text for _, text in together), strict=True))
    for (_, text), id_ in zip(files, ids_of(files), strict=True):
        assert text_of[id_] == text


def test_what_is_asked_for_is_in_the_id() -> None:
    """
    Another input, name, capability or option makes another task.
    """
    file = [("a.txt", "one")]
    others = [
        ids_of([("b.txt", "one")]),
        ids_of([("a.txt", "two")]),
        ids_of(file, data_class="restricted"),
        ids_of(file, route="local"),
        [BatchIds("night", "classify", SubmitOptions()).of("a.txt", {"document": "one"})],
    ]

    assert ids_of(file) == ids_of([("elsewhere/a.txt", "one")])
    assert ids_of(file) not in others
    assert len({tuple(each) for each in others}) == len(others)


def test_an_id_is_one_whatever_the_name_of_the_batch() -> None:
    """
    Also with the longest one, and with a random one, which differs each time; a name may be no text.
    """
    for batch in ("b", "B" * BATCH_LENGTH_MAX, None):
        ids = BatchIds(batch, "summarize", SubmitOptions())
        made = ids.of("caf\udce9.txt", {"document": "x"})
        check_task_id(made)
        assert made.startswith(f"{ids.batch}-")
    assert BatchIds(None, "x", SubmitOptions()).batch != BatchIds(None, "x", SubmitOptions()).batch
