"""Python processes beside this one, for libraries whose memory or crashes must not be this one's."""

from __future__ import annotations

import os
import sys
from typing import Any


def python(code: str, *arguments: str) -> dict[str, Any]:
    """The `args` and `env` of a subprocess in which this Python runs `code`, which finds the same modules."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    return {"args": [sys.executable, "-P", "-c", code, *arguments], "env": environment}
