"""What the docs say runs: the examples in docstrings, in the README and in docs/."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import whichpool

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module", autouse=True)
def reading_is_warm(pyarrow_is_at_work):
    """What pyarrow opens at its first reading is not left behind by the page about datasets."""


def module_names() -> list[str]:
    found = ["whichpool"]
    found += [m.name for m in pkgutil.walk_packages(whichpool.__path__, "whichpool.")]
    return [
        name for name in found if not name.endswith("__main__")
    ]  # importing that would run the command line


@pytest.mark.parametrize("name", module_names())
def test_docstrings(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.failed == 0


def fenced(text: str) -> list[str]:
    """The ``pycon`` and ``python`` blocks of a page."""
    return re.findall(r"^```(?:python|pycon)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages(page):
    """All examples of a page run in order, in one namespace, as a reader would type them."""
    examples = "\n".join(block for block in fenced(page.read_text("utf-8")) if ">>>" in block)
    # A namespace of its own named __main__: a reader types these into an interpreter.
    test = doctest.DocTestParser().get_doctest(examples, {"__name__": "__main__"}, page.name, str(page), 0)
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(test)
    assert result.failed == 0


def test_the_readme_has_examples():
    text = (ROOT / "README.md").read_text("utf-8")
    assert sum(block.count(">>>") for block in fenced(text)) >= 8


def test_every_public_name_is_explained_somewhere():
    pages = "\n".join(page.read_text("utf-8") for page in PAGES)
    for name in ["map", "imap", "map_reduce", "explain", "Pool", "Executor", "salvage", "doctor"]:
        assert re.search(rf"\b{name}\b", pages), name


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_says_how_to_try_it_and_how_to_test_it():
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert "pip install . && whichpool demo" in lines
    assert "pip install '.[test]' && pytest" in lines


def test_the_page_on_downloading_has_every_failure_and_setting():
    from dataclasses import fields

    from whichpool.downloads import failures
    from whichpool.downloads.records import Receipt, Settings

    page = (ROOT / "docs" / "downloading.md").read_text("utf-8")
    kinds = {name: getattr(failures, name) for name in failures.__all__ if name != "DownloadFailed"}
    assert dict(re.findall(r"^\| (\d+) \| `(\w+)` \|", page, flags=re.MULTILINE)) == {
        str(kind.code): name.lower() for name, kind in kinds.items()
    }
    for record in (Settings, Receipt):
        for one in fields(record):
            assert f"`{one.name}`" in page, f"{record.__name__}.{one.name}"
