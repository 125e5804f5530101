"""A site that is broken, or that loads something from elsewhere, does not pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_site.py"
CHINESE = 'Search.setIndex({"terms":{"\\u68af\\u5ea6":[1]}})'


def check(site: Path, page: str = "", css: str = "", index: str = CHINESE) -> tuple[int, str]:
    """Exit status and output for a site of one page, with a picture and a style sheet."""
    (site / "page.html").write_text(f'<h1 id="top"></h1>{page}', encoding="utf-8")
    (site / "style.css").write_text(css, encoding="utf-8")
    (site / "searchindex.js").write_text(index, encoding="utf-8")
    (site / "a.png").touch()
    done = subprocess.run([sys.executable, SCRIPT, site], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_whole_site_passes(tmp_path: Path) -> None:
    page = '<a href="#top">1</a><a href="https://example.org">2</a><img src="a.png" srcset="a.png 1x, a.png 2x">'
    css = "@import 'style.css'; @font-face { src: url(a.png), url(data:x) }"
    assert check(tmp_path, page, css) == (0, "1 pages, every link leads somewhere, nothing is foreign\n")


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ('<a href="gone.html">', "page.html links to gone.html, which does not exist"),
        ('<a href="page.html#gone">', "page.html links to page.html#gone, which has no such anchor"),
        ('<img src="gone.png">', "page.html links to gone.png, which does not exist"),
        ('<script src="https://example.org/a.js">', "page.html loads https://example.org/a.js"),
        ('<link href="//example.org/a.css">', "page.html loads //example.org/a.css"),
        ('<img srcset="a.png 1x, https://example.org/b.png 2x">', "page.html loads https://example.org/b.png"),
        ('<source srcset="https://example.org/c.png">', "page.html loads https://example.org/c.png"),
    ],
)
def test_a_fault_of_a_page_is_named(tmp_path: Path, page: str, problem: str) -> None:
    assert check(tmp_path, page) == (1, f"{problem}\n")


@pytest.mark.parametrize(
    "css",
    ["@import 'https://example.org/a.css';", "@import url(https://example.org/a.css);", "a { src: url(gone) }"],
)
def test_a_fault_of_a_style_sheet_is_named(tmp_path: Path, css: str) -> None:
    status, output = check(tmp_path, css=css)
    assert status == 1
    assert output.startswith("style.css loads ")


def test_an_index_without_chinese_is_a_fault(tmp_path: Path) -> None:
    status, output = check(tmp_path, index='Search.setIndex({"terms":{"gradient":[1]}})')
    assert status == 1
    assert "a search in Chinese finds nothing" in output
