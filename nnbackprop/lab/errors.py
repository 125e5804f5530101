"""What a request is refused for, and how an answer says so."""

from __future__ import annotations

from typing import Any

import msgspec

from backends import BackendError
from nnbackprop.errors import DataError, NnbackpropError, RunFolderError, UsageError


class RequestError(NnbackpropError):
    """A request that is refused, with the kind of the refusal and its HTTP status."""

    def __init__(self, kind: str, status: int, message: str) -> None:
        super().__init__(message)
        self.kind, self.status = kind, status


def busy(message: str) -> RequestError:
    """What was asked for does not go with what the trainer is doing."""
    return RequestError("busy", 409, message)


def missing(message: str) -> RequestError:
    """What was asked for is not there."""
    return RequestError("missing", 404, message)


KINDS: tuple[tuple[type[Exception], str], ...] = (
    (DataError, "data"),
    (UsageError, "usage"),
    (BackendError, "usage"),
    (msgspec.DecodeError, "usage"),  # of which ValidationError is one
    (RunFolderError, "folder"),
)


def describe(error: Exception) -> tuple[int, dict[str, Any]]:
    """The HTTP status and the body that say what was wrong; of an error that nobody foresaw its name alone."""
    if isinstance(error, RequestError):
        return error.status, body(error.kind, str(error))
    for kind_of_error, kind in KINDS:
        if isinstance(error, kind_of_error):
            return 422, body(kind, str(error))
    return 500, body(
        "internal", f"The server failed ({type(error).__name__}). The terminal it runs in says where."
    )


def body(kind: str, message: str) -> dict[str, Any]:
    """{"error": {"kind", "message"}}."""
    return {"error": {"kind": kind, "message": message}}
