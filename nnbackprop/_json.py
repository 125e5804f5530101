"""JSON that every reader takes: it has neither NaN nor infinity, and null stands in their place."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json_text(value: Any, indent: int | None = None) -> str:
    """`value` as JSON, with null for each number that is NaN or infinite."""
    return json.dumps(_without_non_finite(value), indent=indent, allow_nan=False)


def _without_non_finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_non_finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_non_finite(item) for item in value]
    return value
