"""JSON that every reader takes: it has neither NaN nor infinity, and null stands in their place."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def to_json_text(value: Any, indent: int | None = None) -> str:
    """`value` as JSON, with null for each number that is NaN or infinite."""
    return json.dumps(json_values(value), indent=indent, allow_nan=False)


def from_json_text(text: str) -> Any:
    """What `to_json_text` wrote; None also for NaN and infinity, which earlier versions wrote as such."""
    return json.loads(text, parse_constant=lambda _: None)


def json_values(value: Any) -> Any:
    """Dicts, lists and numbers as JSON has them: a number that is not finite is None, a path its text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: json_values(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item) for item in value]
    return str(value) if isinstance(value, Path) else value
