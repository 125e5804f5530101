"""What a configuration cannot be, found before any data is read."""

from __future__ import annotations

from dataclasses import replace

from nnbackprop.data.readers.image import parse_size
from nnbackprop.errors import UsageError

from . import build
from .callbacks import SaveInterval
from .config import Config, idle_settings
from .run_dir import check_name


def check_config(config: Config) -> None:
    """UsageError for names that are not known and settings that do not go together."""
    _check_names(config)
    build.check_outputs(config)
    plateau = build.plateau_callbacks(config)
    if (plateau or config.patience is not None) and not config.validation:
        waits = f"--schedule {config.schedule}" if plateau else "--patience"
        raise UsageError(
            f"{waits} waits for a better validation loss and there is no validation part: "
            "keep some of the training data for it, with --validation 0.1."
        )
    if config.deterministic and config.threads not in (None, 1):
        raise UsageError(
            f"--deterministic is one thread, as products add up in another order on more, and --threads "
            f"{config.threads} was asked for: leave one of the two out."
        )
    for name, changes in (("lr_changes", config.lr_changes), ("dropout_changes", config.dropout_changes)):
        after = [step for step, _ in changes]
        if after != sorted(set(after)):
            raise UsageError(
                f"{name} come after steps {', '.join(map(str, after))}; each must be later than the one before. "
                f"Put back the config.toml that the run wrote, or leave {name} out."
            )
    for name, needed in idle_settings(config).items():
        if getattr(config, name) != getattr(Config, name):
            raise UsageError(
                f"{_flag(name)} without {needed} would do nothing: leave it out, or give what it goes with."
            )


def check_new_run(config: Config) -> None:
    """UsageError for what `check_config` refuses, and for what a run cannot begin with."""
    check_config(config)
    check_name(config.run_name)
    if config.dropout_changes:
        raise UsageError(
            "dropout_changes are of a run whose rates the lab changed on the way: a new run has one rate a "
            "layer from its first step. Leave them out."
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check_names(config: Config) -> None:
    """UsageError for a name that is not known; what is built here depends on the data and is built later."""
    if config.layers:
        build.listed_layers(config, config.n_outputs)
    else:
        build.network(config, config.n_outputs or 2)
    if config.loss != "auto":
        build.loss(config)
    build.optimizer(config)
    build.penalty(config)
    build.augmentation(config)
    # more samples than there are: whether a warm-up fits into the run is seen when the data is read
    build.learning_rate(replace(config, lr=1.0) if config.lr == "auto" else config, samples=10**12)
    SaveInterval.parse(config.save_every)
    if config.size is not None:
        parse_size(config.size)
