"""Whether a built site is whole: no broken link, nothing loaded from another server, a search that knows Chinese.

python scripts/check_site.py docs/_build/html
"""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    **dict.fromkeys(("script", "iframe", "video", "audio", "embed"), ("src",)),
    **dict.fromkeys(("img", "source"), ("src", "srcset")),
    "link": ("href",),
    "object": ("data",),
}
"""Elements, and their attributes with files that a browser fetches without a click."""

URL_IN_CSS = re.compile(r"""(?:url\(["']?|@import\s+["'])([^)"']+)""")
CHINESE_TERM = "\u68af\u5ea6"  # gradient


class Page(HTMLParser):
    """The links of a page, the files it loads, and the anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        for name in LOADED.get(tag, ()):
            if name in given:
                files = given[name].split(",") if name == "srcset" else [given[name]]
                self.loaded += [file.split()[0] for file in files]


def problems(site: Path) -> list[str]:
    """Each broken link, and each file that is loaded from elsewhere or not there, a line."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        found += [f"{name} loads {url}" for url in page.loaded if urlsplit(url).netloc]
        for url in (*page.links, *page.loaded):
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{name} links to {url}, which does not exist")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name} links to {url}, which has no such anchor")
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    if CHINESE_TERM not in json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))["terms"]:
        found.append(f"searchindex.js has no {CHINESE_TERM}: a search in Chinese finds nothing")
    for path in site.rglob("*.css"):
        for url in URL_IN_CSS.findall(path.read_text(encoding="utf-8")):
            parts = urlsplit(url)
            if parts.scheme != "data" and (parts.netloc or not (path.parent / parts.path).exists()):
                found.append(f"{path.relative_to(site)} loads {url}, which is not on the site")
    return found


def main() -> int:
    """Print what is wrong; exit status 1 if anything is."""
    site = Path(sys.argv[1]).resolve()
    found = problems(site)
    print(
        "\n".join(found)
        or f"{len(list(site.rglob('*.html')))} pages, every link leads somewhere, nothing is foreign"
    )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
