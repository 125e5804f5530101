"""Configurations in TOML files: recipes, and the config.toml of a run folder."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import Any

from nnbackprop._files import open_file
from nnbackprop.data.bundled import BUNDLED_TABLES
from nnbackprop.data.catalog import DATASETS
from nnbackprop.data.readers.image_folder import is_image_folder
from nnbackprop.data.readers.paths import is_table
from nnbackprop.errors import RunFolderError, UsageError

from .config import PLAIN_NETWORK, Config, idle_settings
from .settings import BACKSLASH_ADVICE, parse_settings, with_changes, with_current_names, without_none

OF_A_CONFIG_TOML = {"title", "seed", "keep_checkpoints", "progress", "runs_dir"}
"""Settings that tell a config.toml of any version, which is whole and leaves out what is None, from a recipe."""

BACKSLASH_IN_QUOTES = re.compile(r'"[^"\n]*\\[^"\n]*"')
MAX_FILE_SIZE = 2**18  # bytes: one of ours has 2,000, and as many more as a table has names of columns
MAX_DOTS = 100  # in a line: for names like a.a.a tomllib takes quadratic time; so the worst file takes a second


def recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    folder = resources.files("nnbackprop") / "recipes"
    return {path.stem: path for path in sorted(Path(str(folder)).glob("*.toml"), key=lambda path: path.stem)}


def load_recipe(recipe: str) -> Config:
    """A recipe, by its name or as a TOML file of your own; UsageError if there is none."""
    return parse_recipe(recipe, read_recipe(recipe))


def parse_recipe(recipe: str, settings: Mapping[str, Any]) -> Config:
    """The recipe with these settings; UsageError names one that is unknown or has a wrong value.

    What they leave out is as in the packaged recipe that they name by `recipe`, where there is one of that name.
    """
    if "search" in settings:
        raise UsageError(
            f"The recipe {recipe} has a table [search], which nnbackprop search reads: leave it out to train, or "
            f"give the file to nnbackprop search, whose best.toml can be trained."
        )
    source = f"The recipe {recipe}"
    config = parse_settings({"recipe": Path(recipe).stem, **settings}, source)
    base = recipes().get(config.recipe) if "recipe" in settings else None
    if base is None or with_current_names(settings).keys() >= OF_A_CONFIG_TOML:
        return config
    return apply_overrides(parse_settings(_read_toml(base), str(base)), settings, source)


def read_recipe(recipe: str) -> dict[str, Any]:
    """What a recipe's file holds, not yet checked."""
    path = recipes().get(recipe, Path(recipe))
    try:
        return _read_toml(path)
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(
            f"{recipe!r} is neither a recipe nor a TOML file, and there is no data of that name. The recipes are "
            f"{', '.join(recipes())}; a file of your own ends in .toml and holds the same settings."
        ) from None
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}. Compare it with a run's config.toml.") from None


def recipe_for(recipe: str | None, overrides: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The recipe and settings of a command: a file or folder in a recipe's place is its data.

    Without a recipe, tables and arrays of other samples than images have the recipe `table`, folders of images
    `images`, and other data `mnist`.
    """
    settings = dict(overrides)
    if recipe is not None:
        if recipe in recipes() or recipe.endswith(".toml") or not Path(recipe).exists():
            return recipe, settings
        if "data" in settings:
            raise UsageError(f"{recipe} is data and --data {settings['data']} too: name one of them.")
        settings["data"] = recipe
        settings.setdefault("name", Path(recipe).name.split(".")[0] or "table")
    data = settings.get("data")
    if data is None or data in DATASETS:
        return "table" if data in BUNDLED_TABLES else "mnist", settings
    path = Path(data).expanduser()
    return "table" if is_table(path) else "images" if is_image_folder(path) else "mnist", settings


def apply_overrides(recipe: Config, overrides: Mapping[str, Any], source: str | None = None) -> Config:
    """A recipe with other values for the settings in `overrides`; `layers` replaces its hidden layers, and back.

    A learning rate replaces the recipe's changes of it. What is left without effect is as by default: a weight
    decay beside another optimizer.

    A recipe's own dropout rates are fitted to other hidden layers: the last is repeated, or those too many are
    left out. Without hidden layers there is no dropout, as one rate alone is that of the hidden layers.
    """
    overrides = with_current_names(overrides)
    if overrides.get("layers"):
        recipe = replace(recipe, **PLAIN_NETWORK)
    elif "hidden" in overrides:
        recipe = replace(recipe, layers=())
    if "lr" in overrides:
        recipe = replace(recipe, lr_changes=())
    of_input, *of_hidden = recipe.dropout or (0.0,)
    if "hidden" in overrides and of_hidden:
        fitted = [of_hidden[min(i, len(of_hidden) - 1)] for i in range(len(overrides["hidden"]))]
        overrides = {"dropout": [of_input, *fitted] if fitted else [], **overrides}
    config = with_changes(recipe, overrides, source or f"The recipe {recipe.recipe} with the given flags")
    idle = idle_settings(config).keys() - idle_settings(recipe).keys() - overrides.keys()
    return replace(config, **{name: getattr(Config, name) for name in idle})


def resolve(recipe: str, overrides: Mapping[str, Any]) -> Config:
    """The configuration of a recipe with `overrides`, such as {"epochs": 5}."""
    return apply_overrides(load_recipe(recipe), overrides)


def load_run_config(path: Path) -> Config:
    """The config.toml of a run folder; RunFolderError if it is damaged."""
    try:
        return parse_settings(_read_toml(path), str(path))
    except (ValueError, OSError) as error:
        reason = str(error).rstrip(".")
        raise RunFolderError(
            f"{path} cannot be read as a run's configuration: {reason}. Put back what was there, or train again."
        ) from error


def to_toml(config: Config) -> str:
    """The whole configuration, runnable again; settings that are None are left out, as TOML has no null.

    UsageError where it is larger than a file that is read may be, or has a line of more dots.
    """
    import tomli_w

    text = tomli_w.dumps(without_none(asdict(config)))
    if (size := len(text.encode())) > MAX_FILE_SIZE:
        raise UsageError(
            f"The configuration has {size:,} bytes, and a config.toml may have {MAX_FILE_SIZE:,}: most are names "
            "of columns (--target, --features, --drop). Name fewer, or take unused columns out of the table."
        )
    if dotted := next((line for line in text.split("\n") if line.count(".") > MAX_DOTS), None):
        raise UsageError(f"A line of a config.toml may have {MAX_DOTS} dots, and one has more: {dotted.strip()}.")
    return text


def _read_toml(path: Path) -> dict[str, Any]:
    """The settings in a TOML file; ValueError where it is none, or large or nested beyond any configuration."""
    with open_file(path) as file:
        content = file.read(MAX_FILE_SIZE + 1)
    if len(content) > MAX_FILE_SIZE:
        raise ValueError(f"it has more than {MAX_FILE_SIZE} bytes, which no configuration needs")
    text = content.decode("utf-8-sig")
    if max(line.count(".") for line in text.split("\n")) > MAX_DOTS:
        raise ValueError(f"a line has more than {MAX_DOTS} dots: put each value on a line of its own")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(
            f"{error}. {BACKSLASH_ADVICE}" if BACKSLASH_IN_QUOTES.search(text) else str(error)
        ) from None
