"""Every link of the documentation leads somewhere, and what a first-time reader needs is one click from the README."""

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, links, name


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for path, anchor in links(page):
        target = page.parent / path if path else page
        assert target.exists() and ROOT in target.resolve().parents, f"{name(page)} links to {path}"
        if anchor:
            assert target.suffix == ".md" and anchor in anchors(target), f"{name(page)} links to {path}#{anchor}"


def test_links_are_found():
    """The reader of links itself."""
    assert ("data.md", "tfrecord-shards") in links(ROOT / "docs" / "scale.md")
    assert "centernet-objects-as-points" in anchors(ROOT / "docs" / "papers.md")


def test_one_click_from_the_readme():
    """Its second paragraph leads to what readers look for first."""
    shown = (ROOT / "README.md").read_text().partition("![")[0]
    for target in ("#install", "docs/own-data.md", "docs/zoo.md", "docs/papers.md", "docs/deploy.md"):
        assert f"]({target})" in shown, target


def test_every_page_can_be_reached():
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop().resolve()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            todo += [page.parent / path for path, _ in links(page) if path]
    assert set(PAGES) <= reached, sorted(map(name, set(PAGES) - reached))
