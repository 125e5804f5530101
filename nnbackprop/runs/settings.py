"""Settings by name as a `Config`: checked, and with the names of earlier versions replaced."""

from __future__ import annotations

import difflib
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import msgspec

from nnbackprop.errors import UsageError

from .config import MAX_NESTING, PLAIN_NETWORK, Config

SETTING_NAMES = tuple(field.name for field in fields(Config))

BACKSLASH_ADVICE = (
    "In TOML's double quotes a backslash begins an escape: write a path in single quotes, 'C:\\Users\\me', or "
    "with / for each backslash"
)

RENAMED_SETTINGS = {
    "output": "output_activation",
    "outputs": "n_outputs",
    "targets": "target_values",
    "keep": "keep_checkpoints",
}
RENAMED_VALUES = {("scale", "book"): "rashid", ("init", "book"): "fan-out-normal"}
"""Former names, which configurations and checkpoints written before still have, and flags still may."""


def parse_settings(settings: Mapping[str, Any], source: str) -> Config:
    """Settings as a Config; UsageError names the setting that is unknown or has a wrong value, and `source`."""
    settings = with_current_names(settings)
    for name, value in settings.items():
        if name not in SETTING_NAMES:
            near = difflib.get_close_matches(name.replace("-", "_"), SETTING_NAMES, 1)
            hint = f" Did you mean {near[0]}?" if near else f" Known are: {', '.join(SETTING_NAMES)}."
            raise UsageError(f"{source} has a setting {name!r} that does not exist.{hint}")
        _check_text(name, value, source)
    if settings.get("layers"):
        settings = {"hidden": (), **settings}
        if isinstance(settings["layers"], list | tuple):
            settings["layers"] = [_in_one_line(entry) for entry in settings["layers"]]
    try:
        config = msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`").split("[")[0]
        raise UsageError(f"{source} has {name} = {settings.get(name)!r}: {what[0].lower() + what[1:]}.") from None
    _check_layers(config, source)
    return config


def _check_text(name: str, value: Any, source: str) -> None:
    """UsageError for control characters, as of a path with backslashes, and for bytes that are no text."""
    alone = value if isinstance(value, str) and (name, value) != ("separator", "\t") else ""
    if _has(alone, "Cc"):
        raise UsageError(f"{source} has {name} = {value!r}, which holds control characters. {BACKSLASH_ADVICE}.")
    for text in value if isinstance(value, list | tuple) else (value,):
        if isinstance(text, str) and _has(text, "Cs"):  # as Python keeps bytes of another encoding
            raise UsageError(
                f"{source} has {name} = {text!r}, which is not text in {sys.getfilesystemencoding()}: set the "
                "terminal to that encoding, or give another name."
            )


def _has(text: str, category: str) -> bool:
    return any(unicodedata.category(sign) == category for sign in text)


def _in_one_line(entry: Any, depth: int = 0) -> Any:
    """A residual given as a list, ["residual", "conv 16", "relu"], as flags have it: residual(conv 16, relu)."""
    if not isinstance(entry, list | tuple) or depth > MAX_NESTING:
        return entry
    word, *inside = (_in_one_line(inner, depth + 1) for inner in entry) if entry else ("",)
    return f"{word}({', '.join(map(str, inside))})"


def _check_layers(config: Config, source: str) -> None:
    """UsageError where layers, which are the whole network, stand beside what describes a plain one."""
    if not config.layers:
        return
    for name, default in PLAIN_NETWORK.items():
        if (value := getattr(config, name)) != default:
            shown = list(value) if isinstance(value, tuple) else value
            raise UsageError(
                f"{source} has layers and {name} = {shown!r}: layers are the whole network, with an entry for "
                f"each activation, normalization and dropout. Leave {name} out, or leave layers out."
            )


def with_current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings, with names and values that have changed since as they are now."""
    renamed = {RENAMED_SETTINGS.get(name, name): value for name, value in settings.items()}
    return {
        name: RENAMED_VALUES.get((name, value), value) if isinstance(value, str) else value
        for name, value in renamed.items()
    }


def with_changes(config: Config, changes: Mapping[str, Any], source: str) -> Config:
    """The same configuration with other values for some settings, checked as `parse_settings` does."""
    return parse_settings(without_none({**asdict(config), **with_current_names(changes)}), source)


def without_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that have a value."""
    return {name: value for name, value in settings.items() if value is not None}
