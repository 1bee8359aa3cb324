"""The small changes that are made to decisions: each changes one thing, and leaves the source as it was."""

from types import CodeType
from typing import Any, Final

import pytest

from flotilla.testkit.manifests import REPOSITORY
from flotilla.testkit.mutants import mutants
from flotilla.testkit.mutation import plan_of

SOURCE: Final = '''
LIMIT = 3

class Lane:
    @property
    def is_full(self) -> bool:
        """Whether it is."""
        return self.held >= LIMIT and not self.over

def taken(items, most: int = 2):
    for item in items:
        if item == "free":
            continue
        items.remove(item)
    return min(len(items), most, key=abs)
'''


@pytest.mark.parametrize(
    "text",
    [
        "self.held >= LIMIT -> self.held > LIMIT",
        "self.held >= LIMIT and (not self.over) -> self.held >= LIMIT or not self.over",
        "not self.over -> not not self.over",
        "item == 'free' -> item != 'free'",
        "'free' -> 'not free'",
        "continue -> break",
        "items.remove(item) -> left out",
        "items.remove(item) -> items.remove(None)",
        "min -> max",
        "min(len(items), most, key=abs) -> min(len(items), most)",
        "return min(len(items), most, key=abs) -> return None",
    ],
)
def test_each_change_is_made_once(text: str) -> None:
    """
    And says what it is.
    """
    assert 1 == sum(text == mutant.text for mutant in mutants(SOURCE, "lane.py"))


def test_a_change_is_of_one_function_and_can_be_run_in_its_place() -> None:
    """
    No change is made upon another, and what is annotated, documented or a default stays.
    """
    namespace: dict[str, Any] = {}
    exec(compile(SOURCE, "lane.py", "exec"), namespace)  # noqa: S102  (the source above)
    taken: Any = namespace["taken"]
    before: CodeType = taken.__code__
    found = list(mutants(SOURCE, "lane.py"))

    assert {"Lane.is_full", "taken"} == {mutant.function for mutant in found}
    assert not [mutant for mutant in found if "Whether" in mutant.text or mutant.text in {"2 -> 3", "3 -> 4"}]
    for mutant in found:
        code = mutant.code.replace(co_filename="lane.py")
        assert mutant.function == code.co_qualname
        assert code != before
    for mutant in found:
        if mutant.text == "items.remove(item) -> left out":
            taken.__code__ = mutant.code
    assert 1 == taken(["a"])


def test_the_modules_and_the_tests_of_make_mutation_are_there() -> None:
    """
    A file that was renamed is missed.
    """
    plan = plan_of(REPOSITORY / "tests/mutation.toml", ())

    for path in (*plan.modules, *plan.tests):
        assert (REPOSITORY / path).exists()
    names = [module.name for module in plan.modules]
    assert len(names) == len(set(names))
    assert all(text.partition(": ")[0] in names for text in plan.explained)
