"""Views of a trained run."""

from __future__ import annotations

from typing import Any

from .errors import missing
from .messages import Look
from .models import Models


def look(models: Models, request: Look) -> dict[str, Any]:
    """The view that was asked for."""
    raise missing("There is no such view yet.")
