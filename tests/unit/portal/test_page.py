"""The page's files: small, made of nothing from elsewhere, and without a way from a text to markup."""

import gzip
import re
from pathlib import Path
from typing import Final

import pytest

from flotilla.testkit.manifests import REPOSITORY
from portal.web.guard import CONTENT_SECURITY_POLICY

PAGE: Final = REPOSITORY / "services/portal/src/portal/page"
SERVED: Final = sorted(path for path in PAGE.rglob("*") if path.suffix in {".js", ".css", ".html", ".svg"})
SCRIPTS: Final = [path for path in SERVED if path.suffix == ".js"]
ZIPPED_BYTES_MAX: Final = 100 * 1024
LINES_MAX: Final = 400
SINKS: Final = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment|DOMParser"
    r"|parseFromString|setHTML|srcdoc\s*=|javascript:|setTimeout\(\s*[\"'`]"
)
ELSEWHERE: Final = re.compile(
    r"https?://(?!www\.w3\.org/2000/svg)|\bsrc=\"(?!/assets/)"
    r"|^(?:import|\}).* from \"(?!\.)|import\(\"(?!\.)|@import (?:url|\")"
)


def test_the_whole_page_is_small():
    """
    Every file that a browser may ask for, zipped as it is sent.
    """
    assert SERVED
    assert sum(len(gzip.compress(path.read_bytes())) for path in SERVED) <= ZIPPED_BYTES_MAX


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(PAGE)))
def test_no_script_makes_markup_of_a_text(path: Path):
    """
    Texts become text nodes; what else could is named nowhere but where it is forbidden.
    """
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "FORBIDDEN = new Set" not in line]

    assert [line for line in lines if SINKS.search(line)] == []
    assert len(lines) <= LINES_MAX


@pytest.mark.parametrize("path", SERVED, ids=lambda path: str(path.relative_to(PAGE)))
def test_nothing_comes_from_elsewhere(path: Path):
    """
    No address of another server, and no module that is not the page's own.
    """
    assert [line for line in path.read_text(encoding="utf-8").splitlines() if ELSEWHERE.search(line)] == []


def test_the_markup_has_nothing_that_the_policy_forbids():
    """
    No inline script, no inline style, no handler in an attribute; and the policy allows none.
    """
    markup = (PAGE / "index.html").read_text(encoding="utf-8")

    assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", markup) == []
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none';")


def test_every_file_that_is_asked_for_is_there():
    """
    By the markup and by the modules' imports.
    """
    markup = (PAGE / "index.html").read_text(encoding="utf-8")
    for name in re.findall(r"(?:src|href)=\"/assets/([^\"]+)\"", markup):
        assert (PAGE / name).is_file()
    for script in SCRIPTS:
        for name in re.findall(
            r"^\} from \"(\.[^\"]+)\"|^import .* from \"(\.[^\"]+)\"", script.read_text(encoding="utf-8"), re.MULTILINE
        ):
            assert (script.parent / (name[0] or name[1])).is_file()
