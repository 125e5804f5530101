"""The lines of a run's header: its configuration, and remarks on the machine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from nnbackprop._system_info import CpuTimes, cores, get_num_threads, load_of_others, load_warning

from . import build
from .config import Config
from .jax_estimate import jax_remark

if TYPE_CHECKING:
    from .train import Run


def describe_config(config: Config, recipe: Config | None = None) -> dict[str, str]:
    """A configuration as lines for a run's header, by subject.

    `recipe` is the one whose dropout was fitted to the hidden layers of `config`, where it has been.
    """
    penalties = "".join(f", {name} {value:g}" for name, value in (("L1", config.l1), ("L2", config.l2)) if value)
    dropout = f", dropout {' '.join(f'{rate:g}' for rate in config.dropout)}" if any(config.dropout) else ""
    dropout += "".join(
        f", {' '.join(f'{rate:g}' for rate in rates)} from step {step + 1}"
        for step, rates in config.dropout_changes
    )
    hidden = "-".join(map(str, config.hidden)) or "no"
    norm = "" if config.norm is None else f", {config.norm} normalization"
    schedule = "" if config.schedule == "constant" else f", {config.schedule}"
    lr = config.lr if isinstance(config.lr, str) else f"{config.lr:g}"
    lr += "".join(f", {changed:g} from step {step + 1}" for step, changed in config.lr_changes)
    average = f"; evaluated and saved: the weights' moving average, decay {config.ema:g}" if config.ema else ""
    lines = {
        "recipe": config.recipe,
        "network": ", ".join(config.layers) or f"{hidden} hidden units, {config.activation}{norm}{dropout}",
        "loss": config.loss + penalties,
        "optimizer": f"{config.optimizer}, learning rate {lr}{schedule}{average}",
    }
    if config.augment:
        half = config.augment_half_angle
        lines["augment"] = ", ".join(config.augment) + (f"; half the angle for {', '.join(half)}" if half else "")
    if recipe is not None and recipe.dropout != config.dropout:
        before, fitted = (
            " ".join(f"{rate:g}" for rate in rates) or "none" for rates in (recipe.dropout, config.dropout)
        )
        lines["dropout"] = f"the recipe's {before}, fitted to --hidden: {fitted}"
    return lines


def describe_machine(run: Run) -> dict[str, str]:
    """Lines by subject: what slows a run down on this machine, and a faster library that is installed."""
    backend, lines = run.trainer.backend, {}
    fuses_by_numba = backend.name in ("numpy", "torch") and backend.device == "cpu"
    if fuses_by_numba and find_spec("numba") is None:  # not imported before a kernel needs it
        lines["kernels"] = "one operator at a time; pip install numba compiles them"
    if run.communicator.size > 1:
        threads = get_num_threads()
        each = "1 thread" if threads == 1 else f"{threads} threads"
        return lines | {"processes": f"{run.communicator.size} of {each}, batches in {run.config.shards} shards"}
    if run.threads is not None and run.threads.remark:
        lines["machine"] = run.threads.remark
    elif run.threads is None and backend.device == "cpu":
        others = load_of_others(run.initial_cpu_times, CpuTimes.now())
        if warning := load_warning(others, get_num_threads(), cores()):
            lines["machine"] = warning
    if backend.name == "numpy" and find_spec("jax") is not None and (remark := _jax_remark(run)):
        lines["faster"] = remark
    return lines


def _jax_remark(run: Run) -> str | None:
    trainer, samples = run.trainer, len(run.data.train)
    if trainer.dtype not in ("float32", "float64"):  # of others nothing was measured
        return None
    steps = build.steps_per_epoch(run.config, samples) * trainer.epochs - trainer.progress.step
    layers = trainer.network.summary(trainer.sample_shape, trainer.params_dtype)
    return jax_remark(layers, build.batch_size(run.config, samples), steps, cores())
