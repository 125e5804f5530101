"""Networks and losses as plain values for JSON, and back: this package's own classes alone, by their names."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import msgspec

from nnbackprop.errors import NnbackpropError, UsageError
from nnbackprop.nn import initializers, layers, losses
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Residual, Sequential

MAX_DEPTH = 20  # of networks in networks

KINDS: dict[str, type] = {
    kind.__name__: kind
    for module in (layers, losses, initializers)
    for kind in vars(module).values()
    if isinstance(kind, type) and is_dataclass(kind) and not kind.__name__.startswith("_")
} | {"Sequential": Sequential, "Residual": Residual, "WeightPenalty": WeightPenalty}
"""The classes that a file may name."""


def to_plain(value: Any, depth: int = 0) -> Any:
    """An object of this package as {"type": name, ...its options}.

    UsageError for a user's own class, and for networks nested more than MAX_DEPTH deep.
    """
    if depth > MAX_DEPTH:
        raise UsageError(f"The network is nested over {MAX_DEPTH} deep, and a file holds no more: flatten it.")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):  # such as a kernel's rows and columns
        return [to_plain(number) for number in value]
    kind = type(value)
    if KINDS.get(kind.__name__) is not kind:
        raise UsageError(
            f"{value!r} is not of this package, and a file holds plain values alone, no code. Save the numbers of "
            "trainer.host_params() yourself, build the network by your own code, and give them to load_params."
        )
    if isinstance(value, Sequential):
        return {"type": kind.__name__, "layers": [to_plain(layer, depth + 1) for layer in value.layers]}
    return {"type": kind.__name__, **{f.name: to_plain(getattr(value, f.name), depth + 1) for f in fields(value)}}


def from_plain(found: Any, depth: int = 0) -> Any:
    """The object that `to_plain` described; ValueError says what in it cannot be."""
    if not isinstance(found, dict):
        raise ValueError(f"{found!r} describes no object")
    if depth > MAX_DEPTH:
        raise ValueError("its network is nested too deeply")
    options = {name: value for name, value in found.items() if name != "type"}
    kind = KINDS.get(str(found.get("type")))
    if kind is None:
        raise ValueError(f"it names {found.get('type')!r}, which this version does not have")
    try:
        if issubclass(kind, Sequential):
            return kind(*(from_plain(layer, depth + 1) for layer in options["layers"]))
        hints = get_type_hints(kind)
        return kind(**{name: _option(value, hints[name], depth) for name, value in options.items()})
    except (KeyError, TypeError, NnbackpropError) as error:
        raise ValueError(f"its {kind.__name__} cannot be built ({error})") from error


def _option(value: Any, hint: Any, depth: int) -> Any:
    """A number, a word, or an object of a class such as Initializer.

    ValueError or msgspec.ValidationError where it is no `hint`.
    """
    if not isinstance(value, dict):
        return msgspec.convert(value, hint)
    made = from_plain(value, depth + 1)
    if not (isinstance(hint, type) and isinstance(made, hint)):
        raise ValueError(f"{type(made).__name__} stands where there must be {hint}")
    return made
