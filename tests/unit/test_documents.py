"""Every page names files, sections and commands that are there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from flotilla.cli.command import build
from flotilla.testkit.manifests import REPOSITORY

PAGES: Final = (
    *(REPOSITORY / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "deploy").glob("**/*.md")),
    *sorted((REPOSITORY / "examples").glob("**/*.md")),
)
MODULES: Final = [
    path.as_posix()
    for folder in ("libs", "services", "tests", "examples")
    for path in REPOSITORY.glob(f"{folder}/**/*.py")
    if ".venv" not in path.parts
]
LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
YOURS: Final = frozenset({"my_worker.py"})
"""What a page has the reader write."""


def ids(page: Path) -> str:
    """The page's name from the root."""
    return page.relative_to(REPOSITORY).as_posix()


def anchors(page: Path) -> set[str]:
    """The sections of a page, as a link names them."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)).lower().replace(" ", "-")
        for title in titles
    }


def commands(page: Path) -> Iterator[list[str]]:
    """What is typed on a line of a shell's fence after `flotilla`, without what the shell itself does."""
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language not in {"", "sh", "console"}:
            continue
        for line in text.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if word in {"|", "&", "&&", "||", ";", ">", ">>", "<", "(", ")"}:
                    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                        words.pop(0)
                    if words and words[0].rpartition("/")[2] == "flotilla" and len(words) > 1:
                        yield words[1:]
                    words = []
                else:
                    words.append(word)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_to_files_and_sections_that_are_there(page: Path):
    """
    Those within the repository.
    """
    missing: list[str] = []
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        path, _, section = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (section and target.suffix == ".md" and section not in anchors(target)):
            missing.append(link)

    assert [] == missing


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_modules_that_a_page_names_are_there(page: Path):
    """
    By the end of their path.
    """
    named = set(re.findall(r"`([\w/-]+\.py)`", page.read_text(encoding="utf-8"))) - YOURS

    assert [] == sorted(name for name in named if not any(module.endswith(f"/{name}") for module in MODULES))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_of_a_page_are_commands(page: Path):
    """
    With options that they have.
    """
    app = build()
    for words in commands(page):
        try:
            app.parse_args(words, exit_on_error=False, print_error=False)
        except Exception as error:  # noqa: BLE001  (whatever it is, the page is wrong)
            pytest.fail(f"flotilla {shlex.join(words)}: {error}")


def test_the_pages_have_commands():
    """
    The reader of fences finds them.
    """
    assert 40 < sum(1 for page in PAGES for _ in commands(page))
