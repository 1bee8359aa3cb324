"""CONTRIBUTING.md names files that are there, and ARCHITECTURE.md has every package."""

import re
from pathlib import Path
from typing import Final

import pytest

from flotilla.testkit.manifests import REPOSITORY

ARCHITECTURE: Final = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
PAGE: Final = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
FOLDERS: Final = ("libs/", "services/", "tests/", "deploy/", "docs/")
NAMED: Final = sorted(
    {name for name in re.findall(r"`([^`\s]+)`", PAGE) if name.startswith(FOLDERS) or Path(name).suffix == ".md"}
)


@pytest.mark.parametrize("name", NAMED)
def test_a_file_that_a_checklist_names_is_there(name: str):
    """
    Where a part of the name is the reader's to choose, the folder that it is put into.
    """
    fixed = name.partition("<")[0].rpartition("/")[0] if "<" in name else name

    assert (REPOSITORY / fixed).exists()


def test_there_is_a_checklist_for_each_thing_that_is_added_often():
    """
    Each names a test that tells what was forgotten.
    """
    for heading in ("Add a provider", "Add a strategy", "Add a service", "Add a message or a subject"):
        section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        assert "`tests/" in section


def test_the_architecture_says_what_each_package_and_each_service_is_for():
    """
    In the table of what lives where.
    """
    table = ARCHITECTURE.partition("## Where things live\n")[2].partition("\n## ")[0]
    there = {str(path.parent.relative_to(REPOSITORY)) for path in REPOSITORY.glob("*/*/pyproject.toml")}

    assert there == set(re.findall(r"`((?:libs|services)/[\w-]+)`", table))
