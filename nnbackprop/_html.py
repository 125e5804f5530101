"""Small tables in HTML: how objects show themselves in notebooks, by `_repr_html_`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def html_table(heads: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """A table of text: nothing in it is taken for HTML."""
    above = f"<caption style='text-align:left'>{escape(caption)}</caption>" if caption else ""
    body = "".join(_row("td", row) for row in rows)
    return f"<table>{above}<thead>{_row('th', heads)}</thead><tbody>{body}</tbody></table>"


def html_text(text: str) -> str:
    """Lines as they are, in a font of one width."""
    return f"<pre>{escape(text)}</pre>"


def _row(tag: str, cells: Sequence[Any]) -> str:
    return "<tr>" + "".join(f"<{tag} style='text-align:left'>{escape(str(c))}</{tag}>" for c in cells) + "</tr>"
