"""Options as the command line spells them, in texts that spell them as Python does."""

from __future__ import annotations

import re

from nnbackprop.runs.settings import SETTING_NAMES

OPTION = re.compile(
    r"\w\([^()]*\)|(?<!\w)'[^'\n]*'|"
    rf"(?<![\w./\\-])(?P<name>{'|'.join(SETTING_NAMES)})=(?P<value>\[[^\]]*\]|'[^']*'|[\w.+-]*\w)"
    r"(?![\w.+-]*[/\\])"
)
"""A call or a quotation, which stay as they are; or an option of a run and its value, not within a path."""


def with_flags(text: str) -> str:
    """`text` with --task regression in the place of task='regression', and --drop 'a b' of drop=['a b']."""

    def flag(match: re.Match[str]) -> str:
        if (name := match["name"]) is None:
            return match[0]
        values = re.findall(r"'([^']*)'|([^\s,'\[\]]+)", match["value"])
        words = [f"'{quoted}'" if re.search(r"[^\w.:/-]", quoted) else quoted or plain for quoted, plain in values]
        return f"--{name.replace('_', '-')} {' '.join(words)}"

    return OPTION.sub(flag, text)
