"""The pages for people: links lead somewhere, lines and table cells have a length that people read."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
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


def listed(entries: object) -> list[str]:
    """The pages of a navigation, whatever its depth."""
    if isinstance(entries, str):
        return [entries]
    parts = entries.values() if isinstance(entries, dict) else entries
    assert isinstance(parts, Iterable)
    return [page for part in parts for page in listed(part)]


def test_the_site_has_every_page_and_no_page_leads_out_of_it() -> None:
    """Cheaper than `make site`, whose --strict refuses the same."""
    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    pages = [page for page in PAGES if page.is_relative_to(ROOT / "docs")]
    assert sorted(listed(site["project"]["nav"])) == sorted(str(page.relative_to(ROOT / "docs")) for page in pages)
    for page in pages:
        for target in LINK.findall("\n".join(prose(page))):
            inside = (page.parent / target).resolve().is_relative_to(ROOT / "docs")
            assert inside or "://" in target, (name(page), target)
