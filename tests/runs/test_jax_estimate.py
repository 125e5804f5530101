"""The estimate by which a run's header recommends JAX, against the benchmark's stored results."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import pytest

from benchmarks.results import Result, saved
from benchmarks.workloads import WORKLOADS
from nnbackprop.nn.layers import Conv2D, Dense
from nnbackprop.nn.sequential import Sequential
from nnbackprop.nn.trace import LayerSummary
from nnbackprop.runs.jax_estimate import (
    JAX,
    JAX_STARTUP,
    MIN_SPEEDUP,
    NUMPY,
    jax_remark,
    jax_speedup,
    step_seconds,
)
from tests.support.commands import run, said

SAMPLES = {"mnist": 60_000, "mnist-20x20": 5000}
FEATURES = {"mnist": 784, "mnist-20x20": 400}
ON_CPU = [pytest.param(r, id=r.machine.kernel or r.date) for r in saved() if r.machine.gpu is None]


def layers_of(name: str) -> tuple[LayerSummary, ...]:
    workload = WORKLOADS[name]
    return workload.network.summary((FEATURES[workload.data],), workload.dtype)


def estimates(result: Result) -> dict[str, tuple[float, float]]:
    """By workload, how many times as fast JAX's step is: estimated, measured."""
    found = {}
    for timing in result.timings:
        numpy, jax = timing.row("numpy-fast") or timing.row("numpy"), timing.row("jax")
        if timing.on_gpu or not numpy or not jax or timing.workload not in WORKLOADS:
            continue
        workload = WORKLOADS[timing.workload]
        batch = workload.batch or SAMPLES[workload.data]
        estimated = jax_speedup(layers_of(timing.workload), batch, result.machine.threads)
        found[timing.workload] = estimated, median(numpy.ratios(jax))
    return found


@pytest.mark.parametrize("result", ON_CPU)
def test_the_estimate_is_within_a_factor_of_1_7_of_each_measurement(result: Result) -> None:
    found = estimates(result)
    assert found
    for name, (estimated, measured) in found.items():
        assert 1 / 1.7 < estimated / measured < 1.7, name


@pytest.mark.parametrize("result", ON_CPU)
def test_jax_is_recommended_only_where_it_was_measured_faster_and_wherever_it_was_3_times(result: Result) -> None:
    for name, (estimated, measured) in estimates(result).items():
        assert measured > 1.1 or estimated < MIN_SPEEDUP, name
        assert estimated >= MIN_SPEEDUP or measured < 3, name


def test_a_step_is_its_calls_products_and_random_numbers() -> None:
    """784-100-10, one sample: 4 flops a weight of the first layer, whose dx is not computed, 6 of the second."""
    network = Sequential(Dense(100), Dense(10))
    layers = network.summary((784,))
    products = (4 * 78_400 + 6 * 1000) * NUMPY.flop
    assert step_seconds(NUMPY, layers, 1, 1) == pytest.approx(2 * NUMPY.layer + products)
    assert step_seconds(NUMPY, layers, 30, 4) == pytest.approx(2 * NUMPY.layer + 30 / 4 * products)
    convolution = Sequential(Conv2D(4, 3)).summary((10, 8, 1))
    products = 8 * 6 * 9 * 4 * 4 * NUMPY.flop  # a first layer's too: dx is not computed
    assert step_seconds(NUMPY, convolution, 1, 1) == pytest.approx(
        NUMPY.layer + products + 8 * 6 * 4 * NUMPY.image_number
    )
    drawn = (784 + 512 + 256) * 120 * JAX.random_number
    without, dropout = (step_seconds(JAX, layers_of(name), 120, 2) for name in ("W1n", "W1"))
    assert dropout - without == pytest.approx(drawn)


def test_the_remark_counts_the_start_of_jax() -> None:
    layers = layers_of("W3")
    assert jax_remark(layers, 1, 60_000, 2) == "--backend jax is about 8 times as fast at batch 1"
    saved_by_a_step = step_seconds(NUMPY, layers, 1, 2) - step_seconds(JAX, layers, 1, 2)
    enough = math.ceil(JAX_STARTUP / saved_by_a_step) + 1
    assert jax_remark(layers, 1, enough, 2) is not None
    assert jax_remark(layers, 1, enough - 2, 2) is None
    assert jax_remark(layers_of("W4"), 1024, 10**9, 2) is None  # hardly faster


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("installed", [True, False])
def test_the_header_recommends_jax_where_it_is_installed(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def finder(name: str) -> object:
        return (object() if installed else None) if name == "jax" else find_spec(name)

    monkeypatch.setattr("nnbackprop.runs.header.find_spec", finder)
    words = "--epochs", "10000", "--max-time", "0.001", "--hidden", "4", "--runs-dir", str(tmp_path)
    assert run("train", "weight-height", *words) == 0
    assert ("faster: --backend jax is about 8 times as fast at batch 1" in said(capsys)) is installed
