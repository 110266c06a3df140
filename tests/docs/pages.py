"""What the tests of the documentation read: its pages, their blocks of code, their headings and their links.

How a snippet is tested follows from where it stands:

- ```python``` is run: `test_snippets`. A block that begins with a key, such as `"stages": (…)`, is a part of a config.
- ```bash``` and blocks without a language hold commands, and so does a `kerasdet …` in a sentence: `test_commands`.
- Not run are other languages (kotlin, swift), and the programs of others, which `test_commands.NOT_RUN` lists.
"""

import functools
import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "RESULTS.md", "CONTRIBUTING.md", "CHANGELOG.md", "custom_ops/README.md")),
    *sorted(ROOT.glob("docs/*.md")),
]


def name(page):
    """A page's path in the repository."""
    return str(page.relative_to(ROOT))


def blocks(page, *languages):
    """The blocks of code of a page in some languages; "" is none."""
    return [
        text for kind, text in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.M | re.S) if kind in languages
    ]


def prose(page):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page):
    """The links of a page to other files or to itself: pairs of a path, "" for the page itself, and an anchor or ""."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    return re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)#?([^)\s]*)\)", text)


@functools.cache
def made():
    """The module of the site that makes pages of other files; tests without mkdocs are skipped."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install kerasdet[docs]")
    spec = importlib.util.spec_from_file_location("made", ROOT / "docs" / "site" / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
