"""The programs that the README shows."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
EXAMPLES = REPOSITORY / "examples" / "clients"


def fences(language: str) -> list[str]:
    """What stands in the fences of one language."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("language", "file"), [("go", "go/main.go"), ("js", "javascript/publish.mjs")])
def test_a_program_in_another_language_is_the_one_among_the_examples(language: str, file: str):
    """
    There is all that it takes to run it.
    """
    assert fences(language) == [(EXAMPLES / file).read_text(encoding="utf-8")]


def test_a_program_in_python_is_a_whole_one():
    """
    It compiles as a file of its own: no `await` outside a function.
    """
    programs = fences("python")

    assert len(programs) == 2
    for program in programs:
        compile(program, "README.md", "exec")
