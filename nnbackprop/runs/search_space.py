"""A search's file: a recipe, and under [search] trials, sampler, and the values that each setting may take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from nnbackprop.errors import UsageError

from .config import Config, idle_settings
from .config_files import apply_overrides, parse_recipe, read_recipe
from .run_data import absolute
from .settings import with_current_names
from .transfer import absolute_run

SAMPLERS = ("tpe", "grid")
OTHER_DATA = ("seed", "data", "target", "task", "validation", "test_fraction")
OTHER_LOSS = ("loss", "label_smoothing", "target_values", "target_scale", "sample_weight")
NO_EFFECT = (
    *("recipe", "title", "lr_changes", "dropout_changes", "name", "tags", "runs_dir", "log", "progress", "doctor"),
    *("save_every", "keep_checkpoints", "on_nan", "max_time"),
)
REFUSED = {
    **dict.fromkeys(OTHER_DATA, "all trials have the same seed and parts of the data"),
    **dict.fromkeys(OTHER_LOSS, "validation losses of different losses cannot be compared"),
    **dict.fromkeys(NO_EFFECT, "it says how a run is kept, shown or ended, not how it learns"),
}
"""Settings that cannot be searched, and why."""

TUPLES = {field.name for field in fields(Config) if isinstance(getattr(Config(), field.name), tuple)}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included, integers where both are; with `log` even in their logarithm.

    Both are integers only of settings that take no other numbers.
    """

    low: float
    high: float
    log: bool = False

    @property
    def integers(self) -> bool:
        """Whether it holds integers alone."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class Choices:
    """A list of values, by what they are called in tables."""

    values: Mapping[str | int | float | bool, Any]


Space = Mapping[str, Range | Choices]


@dataclass(frozen=True)
class SearchFile:
    """A recipe whose settings in `space` vary from trial to trial."""

    name: str
    config: Config  # of all trials, but for the settings in `space`
    space: Space
    trials: int
    sampler: Literal["tpe", "grid"]
    table: Mapping[str, Any]  # [search] as it was read

    @property
    def definition(self) -> dict[str, Any]:
        """What processes that share a search must agree on, as JSON has it."""
        own = {"name", "tags", "runs_dir", "log", "progress", "title", "recipe"}
        config = {name: value for name, value in asdict(self.config).items() if name not in own}
        return {**config, "search": {name: value for name, value in self.table.items() if name != "trials"}}

    def config_of(self, params: Mapping[str, Any]) -> Config:
        """The configuration of a trial with these parameters, by the names that they have in tables.

        Settings that do nothing beside the others, such as a weight decay without AdamW, are as by default.
        """
        config = apply_overrides(self.config, {name: self._value(name, value) for name, value in params.items()})
        return replace(config, **{name: getattr(Config, name) for name in idle_settings(config)})

    def recipe_of(self, params: Mapping[str, Any], title: str) -> Config:
        """The configuration of a trial as a recipe that can be trained from any folder."""
        config, data = self.config_of(params), absolute(self.config.data)
        recipe, init_from = f"{self.name}-best", absolute_run(config)
        return replace(config, recipe=recipe, name=None, title=title, data=data, init_from=init_from)

    def _value(self, name: str, shown: Any) -> Any:
        found = self.space[name]
        return _as_setting(name, found.values[shown] if isinstance(found, Choices) else shown)


def load_search(file: str, overrides: Mapping[str, Any] = MappingProxyType({})) -> SearchFile:
    """A search's file, with `overrides` of its settings; UsageError says what in it cannot be searched."""
    settings = read_recipe(file)
    table = settings.pop("search", None)
    if not isinstance(table, dict):
        raise UsageError(
            f"{file} has no table [search]: add one with a list of values or a range for each setting to search, "
            "such as lr = { low = 1e-4, high = 1e-1, log = true }."
        )
    config = apply_overrides(parse_recipe(file, settings), overrides)
    config = replace(config, init_from=absolute_run(config))  # `last` is one run for all trials
    space = {name: _parse(file, config, name, value) for name, value in _searched(table).items()}
    if not space:
        raise UsageError(
            f"[search] in {file} names no setting: give at least one a list of values or a range, such as "
            "batch_size = [32, 64]."
        )
    sampler = table.get("sampler", "tpe")
    if sampler not in SAMPLERS:
        raise UsageError(f"[search] in {file} has sampler = {sampler!r}: choose tpe or grid.")
    name = Path(file).stem if config.name is None else config.name
    return SearchFile(name, config, space, _trials(file, table, sampler, space), sampler, table)


def _searched(table: Mapping[str, Any]) -> dict[str, Any]:
    return with_current_names({name: value for name, value in table.items() if name not in ("trials", "sampler")})


def _trials(file: str, table: Mapping[str, Any], sampler: str, space: Space) -> int:
    """The number of trials; that of a grid is at most the number of its points."""
    trials, points = table.get("trials"), None
    if sampler == "grid":
        if ranges := [name for name, values in space.items() if isinstance(values, Range)]:
            raise UsageError(
                f"[search] in {file} has sampler = 'grid' and a range for {', '.join(ranges)}: a grid needs a "
                "list of values for each setting; give lists, or take sampler = 'tpe'."
            )
        points = math.prod(len(values.values) for values in space.values() if isinstance(values, Choices))
        trials = points if trials is None else trials
    if type(trials) is not int or not 1 <= trials <= 100_000:
        raise UsageError(
            f"[search] in {file} has trials = {trials!r}: give the number of trials, 1 to 100,000, such as "
            "trials = 40; only a grid knows its own."
        )
    return trials if points is None else min(trials, points)


def _parse(file: str, config: Config, name: str, value: Any) -> Range | Choices:
    """The values a setting may take, each checked as a recipe's are."""
    if name in REFUSED:
        raise UsageError(
            f"[search] in {file} has {name}, which cannot be searched: {REFUSED[name]}. Put it "
            "above [search], with one value, or search with each in a file of its own."
        )
    if isinstance(value, list) and value:
        _check(file, config, name, value)
        return Choices({_shown(one): one for one in value})
    if not isinstance(value, dict) or not {"low", "high"} <= set(value) <= {"low", "high", "log"}:
        raise UsageError(
            f"[search] in {file} has {name} = {value!r}: give a list of values, such as [32, 64], or a range, "
            "{ low = 0.001, high = 0.1, log = true }."
        )
    found = Range(value["low"], value["high"], value.get("log", False))
    numbers = all(type(number) in (int, float) and math.isfinite(number) for number in (found.low, found.high))
    ordered = numbers and found.low < found.high and not (found.log and found.low <= 0)
    if not ordered or type(found.log) is not bool:
        raise UsageError(
            f"[search] in {file} has {name} = {value!r}: low and high are numbers, low is the less, and above 0 "
            "where log is true."
        )
    _check(file, config, name, (found.low, found.high))
    try:
        _check(file, config, name, [found.low + (found.high - found.low) / math.e])
    except UsageError:
        if not found.integers:
            raise
        return found
    return replace(found, low=float(found.low), high=float(found.high))


def _check(file: str, config: Config, name: str, values: Iterable[Any]) -> None:
    """UsageError for a setting that does not exist, or values it does not take."""
    for value in values:
        apply_overrides(config, {name: _as_setting(name, value)}, f"[search] in {file}")


def _as_setting(name: str, value: Any) -> Any:
    """A value as the setting takes it: of a setting with several, one alone is a list of one."""
    return [value] if name in TUPLES and not isinstance(value, list) else value


def _shown(value: Any) -> str | int | float | bool:
    """A value's name in tables and in the storage."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return value if isinstance(value, str | int | float | bool) else str(value)
