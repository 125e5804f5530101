"""What a request is refused for, and how an answer says so."""

from __future__ import annotations

from typing import Any

import msgspec

from backends import BackendError
from nnbackprop.errors import DataError, NnbackpropError, RunFolderError, UsageError

MESSAGES = {
    "other-begins": "{run} is under way: stop it before another begins.",
    "other-goes-on": "{run} is under way: stop it before another goes on.",
    "other-is-shown": "{run} is under way: stop it before another is shown.",
    "elsewhere": "{run} is trained by another process: pause or stop it there.",
    "nothing-to-change": "No run is under way: what one learns by is changed while it runs, or is paused.",
    "nothing-runs": "No run is under way: start one, or go on with one.",
    "nothing-to-resume": "There is no run to go on with: start one first.",
    "no-run": "There is no run {run} in {folder}: choose one of the list.",
    "nothing-saved": "{run} has saved nothing yet: wait for its first step.",
    "no-network": "There is no trained network yet: train one, or open a run.",
    "no-image-network": "There is no trained network of images yet: train one, such as the recipe mnist.",
    "no-drawing": "There is no drawing to take back.",
    "dropout-count": "The network has {layers} Dropout layers, and {rates} rates were given: send one for each, "
    "0 for none.",
    "no-digit": "The drawing {problem}",
    "drawings-full": "{folder} holds {n} drawings, the most that are kept.",
    "drawings-few": "There are {n} drawings, and at least {least} of two classes or more are needed to train on: "
    "draw some more.",
    "not-grey-images": "{run} was trained on {source}, which is no grey images of classes.",
    "no-image-layer": "{run} has no first layer of images: it was trained on {source}.",
    "no-classes": "{run} learns numbers or several labels, not one class a sample: it was trained on {source}.",
    "no-images": "{run} was trained on {source}, whose samples are no images.",
    "no-hidden-layer": "{run} has no hidden layer.",
}
"""What the page's user may meet, by id; strings/server_zh.js has the same ids in Chinese."""


class RequestError(NnbackpropError):
    """A request that is refused, with the kind of the refusal and its HTTP status.

    `id` is that of a text of `MESSAGES`, and `values` what is put in, where there is one.
    """

    def __init__(self, kind: str, status: int, message: str, id: str = "", values: Any = None) -> None:
        super().__init__(message)
        self.kind, self.status, self.id, self.values = kind, status, id, values or {}
        self.exit_code = UsageError.exit_code if kind == "usage" else DataError.exit_code  # of `lab --export`


def _of_id(kind: str, status: int, id: str, values: dict[str, Any]) -> RequestError:
    return RequestError(kind, status, MESSAGES[id].format(**values), id, values)


def busy(id: str, **values: Any) -> RequestError:
    """What was asked for does not go with what the trainer is doing."""
    return _of_id("busy", 409, id, values)


def missing(id: str, **values: Any) -> RequestError:
    """What was asked for is not there."""
    return _of_id("missing", 404, id, values)


def unfit(id: str, **values: Any) -> RequestError:
    """The data, or a network, is not what the request is about."""
    return _of_id("data", 422, id, values)


def unusable(id: str, **values: Any) -> RequestError:
    """A setting does not fit."""
    return _of_id("usage", 422, id, values)


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
        return error.status, body(error.kind, str(error), error.id, error.values)
    for kind_of_error, kind in KINDS:
        if isinstance(error, kind_of_error):
            return 422, body(kind, str(error))
    return 500, body(
        "internal", f"The server failed ({type(error).__name__}). The terminal it runs in says where."
    )


def body(kind: str, message: str, id: str = "", values: Any = None) -> dict[str, Any]:
    """{"error": {"kind", "message", "id", "values"}}, the last two where the message has an id."""
    return {"error": {"kind": kind, "message": message, **({"id": id, "values": values} if id else {})}}
