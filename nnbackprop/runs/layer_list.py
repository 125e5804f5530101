"""Networks as lists of words: `layers = ["conv 8 3x3", "residual(conv 8 padding=same, relu)", ..., "dense"]`."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, get_type_hints

import msgspec

from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn.initializers import Initializer
from nnbackprop.nn.layers import (
    ACTIVATIONS,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    LayerNorm,
    Maxout,
    MaxPool2D,
    PReLU,
    Reshape,
    SpatialDropout2D,
)
from nnbackprop.nn.sequential import Residual, Sequential

from .config import MAX_NESTING

WORDS: dict[str, type] = {
    "conv": Conv2D,
    "maxpool": MaxPool2D,
    "averagepool": AveragePool2D,
    "globalaveragepool": GlobalAveragePool2D,
    "flatten": Flatten,
    "dense": Dense,
    "maxout": Maxout,
    "batchnorm": BatchNorm,
    "layernorm": LayerNorm,
    "dropout": Dropout,
    "spatialdropout": SpatialDropout2D,
    "prelu": PReLU,
    **ACTIVATIONS,
}
"""The first word of an entry; the values that follow are the layer's options, in their order or by name."""

OF_IMAGES = Conv2D, MaxPool2D, AveragePool2D, GlobalAveragePool2D, SpatialDropout2D
"""Layers that take images: rows of data are made images before the first."""
WEIGHTED_LAYERS = Conv2D, Dense, Maxout
"""Layers with weights, drawn as the setting `init` says, and biases."""

RESIDUAL = "residual"
"""The word of an entry that holds others: residual(conv 16 3x3 padding=same, relu)."""

SIZE = re.compile(r"(\d+)x(\d+)")
BLOCK = re.compile(rf"\s*{RESIDUAL}\s*\((.*)\)\s*")


def parse_layers(
    entries: Sequence[str], n_outputs: int | None, weight_init: Initializer, bias: bool = True
) -> tuple[Layer, ...]:
    """The layers that `entries` name; `dense` without a number has `n_outputs` units (None: not known yet).

    UsageError names the entry that cannot be: its number (2.1 is the first within entry 2), its text, and what is
    known. The bias of a layer before a batchnorm is left out unless the entry asks for it, as the mean takes it
    off again.
    """
    layers = _parse_all(entries, "", n_outputs, weight_init, bias)
    _check_last(entries, layers, n_outputs)
    return layers


def takes_images(layers: Sequence[Layer]) -> bool:
    """Whether one of the layers needs samples of shape (rows, columns, channels)."""
    return any(isinstance(layer, OF_IMAGES) for _, layer in Sequential(*layers).named_layers())


def reshape_to_images(image_shape: Sequence[int] | None) -> Reshape:
    """The layer that makes images, channels last, of a data set's rows; UsageError where they are no images."""
    if image_shape is None:
        raise UsageError(
            "layers has layers of images and the samples of this data are no images: leave out "
            f"{', '.join(word for word, kind in WORDS.items() if kind in OF_IMAGES)}, or give data of images."
        )
    rows, columns, *channels = image_shape
    return Reshape((rows, columns, *(channels or (1,))))


def _parse_all(
    entries: Sequence[str], prefix: str, n_outputs: int | None, weight_init: Initializer, bias: bool
) -> tuple[Layer, ...]:
    """The layers of a list, or of the inside of a residual, whose entries' numbers begin with `prefix`."""
    layers: list[Layer] = []
    for i, entry in enumerate(entries):
        name = _named(f"{prefix}{i + 1}", entry)
        if "(" in entry or ")" in entry or _word(entry) == RESIDUAL:
            inside = _inside(name, entry)
            if prefix.count(".") == MAX_NESTING:
                raise UsageError(f"{name}: residuals are nested {MAX_NESTING} deep at most.")
            layers.append(Residual(*_parse_all(inside, f"{prefix}{i + 1}.", None, weight_init, bias)))
        else:
            units = None if prefix else n_outputs or 1  # a residual's last layer gives the shape of its input
            normalized = i + 1 < len(entries) and WORDS.get(_word(entries[i + 1])) is BatchNorm
            layers.append(_parse(name, entry, units, weight_init, bias and not normalized))
    return tuple(layers)


def _word(entry: str) -> str:
    """The first of an entry, which says what it is."""
    return (entry.split() or [""])[0]


def _inside(name: str, entry: str) -> list[str]:
    """The entries within residual(a, b, residual(c, d)): a, b and residual(c, d); UsageError where it is none."""
    block = BLOCK.fullmatch(entry)
    depth, inside = 0, [""]
    for sign in block[1] if block else "":
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            break
        if sign == "," and not depth:
            inside.append("")
        else:
            inside[-1] += sign
    if depth or not all(text.strip() for text in inside):
        raise UsageError(
            f"{name}: {RESIDUAL} alone holds other entries, separated by commas, as in {_example(RESIDUAL)!r}; in "
            f'TOML that may be a list too, ["{RESIDUAL}", "conv 16 3x3 padding=same", "relu"].'
        )
    return [text.strip() for text in inside]


def _parse(name: str, entry: str, units: int | None, weight_init: Initializer, bias: bool) -> Layer:
    """The layer of an entry, with `bias` unless it says itself; `dense` without a number has `units`, if given."""
    word, *values = entry.split() or [""]
    kind = WORDS.get(word)
    if kind is None:
        known = (*WORDS, RESIDUAL)
        near = difflib.get_close_matches(word, known, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}."
        raise UsageError(f"{name}: {word!r} is not a layer. {hint}")
    if kind is Dense and not values and units is not None:
        values = [str(units)]
    options = dict(_options(name, entry, kind, values))
    if kind in WEIGHTED_LAYERS:
        options = {"bias": bias, **options, "weight_init": weight_init}
    try:
        return kind(**options)
    except (UsageError, ShapeError) as error:
        raise UsageError(f"{name}: {error}") from None
    except TypeError:
        missing = next(f.name for f in fields(kind) if f.name not in options)
        raise UsageError(f"{name}: {word} needs {missing}, as in {_example(word)!r}.") from None


def _options(entry_name: str, entry: str, kind: type, values: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Each option with its value: those without a name in the order of the layer's, the others as name=value."""
    hints = get_type_hints(kind)
    names = [
        f.name for f in fields(kind) if not (isinstance(hints[f.name], type) and hints[f.name] is Initializer)
    ]
    given = set[str]()
    for place, value in enumerate(values):
        name, separator, text = value.partition("=")
        if not separator:
            name, text = names[place] if place < len(names) else "", value
        if name not in names:
            what = f"{value!r} is one value too many" if not separator else f"{name!r} is not an option"
            known = f"its options are {', '.join(names)}" if names else "it takes none"
            raise UsageError(f"{entry_name}: {what} of {entry.split()[0]}; {known}.")
        if name in given:
            raise UsageError(f"{entry_name}: {name} is given twice: leave one of the two out.")
        given.add(name)
        try:
            yield name, msgspec.convert(_value(text), hints[name])
        except msgspec.ValidationError as error:
            reason = str(error)[0].lower() + str(error)[1:]
            raise UsageError(
                f"{entry_name}: {name} is {text!r}; {reason}. Write it as in {_example(entry.split()[0])!r}."
            ) from None


def _value(text: str) -> Any:
    """A size such as 3x3, a number, true or false, or a word."""
    if size := SIZE.fullmatch(text):
        return [int(size[1]), int(size[2])]
    if text in ("true", "false"):
        return text == "true"
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else text
    return text


def _check_last(entries: Sequence[str], layers: Sequence[Layer], n_outputs: int | None) -> None:
    """UsageError where the last weights give another number of outputs than the data has."""
    products = [
        (name, layer) for name, layer in _named_layers(entries, layers) if isinstance(layer, WEIGHTED_LAYERS)
    ]
    if not products:
        raise UsageError(
            f"layers has no layer with weights to train: end it with 'dense' ({len(layers)} entries)."
        )
    name, last = products[-1]
    given = last.filters if isinstance(last, Conv2D) else last.units  # type: ignore[attr-defined]
    if n_outputs is not None and given != n_outputs:
        raise UsageError(
            f"{name}: it gives {given} outputs and {n_outputs} are needed, one a class or target. Write 'dense', "
            "which has as many units as are needed."
        )


def _named_layers(
    entries: Sequence[str], layers: Sequence[Layer], prefix: str = ""
) -> Iterator[tuple[str, Layer]]:
    """Each layer that holds no others, with its entry's name."""
    for i, (entry, layer) in enumerate(zip(entries, layers, strict=True)):
        name = _named(f"{prefix}{i + 1}", entry)
        if isinstance(layer, Residual):
            yield from _named_layers(_inside(name, entry), layer.layers, f"{prefix}{i + 1}.")
        else:
            yield name, layer


def _named(number: str, entry: str) -> str:
    return f"Entry {number} of layers, {entry!r}"


def _example(word: str) -> str:
    examples = {"conv": "conv 32 3x3 padding=same", "dense": "dense 128", "maxout": "maxout 128 pieces=3"}
    rates = dict.fromkeys(("dropout", "spatialdropout"), f"{word} 0.2")
    pools = dict.fromkeys(("maxpool", "averagepool"), f"{word} 3x3 stride=2")
    others = {"batchnorm": "batchnorm momentum=0.1", RESIDUAL: f"{RESIDUAL}(conv 16 3x3 padding=same, relu)"}
    return {**examples, **rates, **pools, **others}.get(word, word)
