"""The pages for people: links lead somewhere, lines and table cells have a length that people read."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> Iterator[str]:
    """The lines that are not code."""
    fenced = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield line


def anchors(page: Path) -> set[str]:
    """What links to the headings of a page are called."""
    titles = [line.lstrip("#").strip() for line in prose(page) if re.match("#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", re.sub("&[a-z]+;", "", title).lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for target in LINK.findall("\n".join(prose(page))):
        file, _, heading = target.partition("#")
        if "://" in file:
            continue
        there = page.parent / file if file else page
        assert there.exists(), target
        assert not heading or heading in anchors(there), target


# configuration.md is generated, and what it says of a key may be long.
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "configuration.md"], ids=name)
def test_lines_and_cells_are_short_enough_to_read(page: Path) -> None:
    for line in page.read_text(encoding="utf-8").splitlines():
        parts = line.strip("|").split("|") if line.startswith("|") else [line]
        for part in parts:
            text = LINK.sub("", part).strip()  # an address cannot be wrapped
            assert line.startswith("![") or len(text) <= (80 if len(parts) > 1 else 120), text
