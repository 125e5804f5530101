"""The mistakes people make when they derive backpropagation; catalogue.toml has symptom, cause and fix of each."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from textwrap import fill

WIDTH = 100  # columns of a mistake printed as text
ROWS = {"z": "x @ W", "dW": "x.T @ dz", "dx": "dz @ W.T", "samples": "0", "classes": "1"}
"""Formulas for samples in rows and W (in, out), W (out, in), and samples in columns."""
ROWS_W_TRANSPOSED = ROWS | {"z": "x @ W.T", "dW": "dz.T @ x", "dx": "dz @ W"}
COLUMNS = {"z": "W @ x", "dW": "dz @ x.T", "dx": "W.T @ dz", "samples": "1, keepdims=True", "classes": "0"}

MISTAKES: dict[str, dict[str, str]] = tomllib.loads(
    (resources.files(__package__) / "catalogue.toml").read_text(encoding="utf-8")
)
"""Symptom, cause and fix by id."""


@dataclass(frozen=True)
class Mistake:
    """What is wrong with a gradient; `certain` where the evidence fits none of the other known mistakes."""

    id: str  # such as softmax-axis
    evidence: str
    certain: bool = True
    layout: Mapping[str, str] = field(default_factory=lambda: ROWS)
    tensor: str = ""  # the last one whose gradient is wrong, of an unknown mistake

    @property
    def name(self) -> str:
        """The id alone where the evidence decides, else "likely ..." or "unknown, ..."."""
        if self.id == "unknown":
            return f"unknown, the wrong piece is the gradient of {self.tensor}"
        return self.id if self.certain else f"likely {self.id}"

    @property
    def cause(self) -> str:
        """What is wrong in general."""
        return MISTAKES[self.id]["cause"]

    @property
    def fix(self) -> str:
        """What to do, in the layout of the user's own arrays."""
        return MISTAKES[self.id]["fix"].format(**self.layout)

    def __str__(self) -> str:
        """The name, then evidence, cause and fix in a paragraph each."""
        rows = (("evidence", self.evidence), ("cause", self.cause), ("fix", self.fix))
        texts = (fill(f"  {word:<9} {text}", WIDTH, subsequent_indent=" " * 12) for word, text in rows)
        return "\n".join([f"mistake: {self.name}", *texts])
