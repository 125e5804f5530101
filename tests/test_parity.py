"""Libraries train alike, and what parts them is named: a product, a mask, a unit, at its step."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import Backend, BackendError, NumpyBackend, select
from backends.base import Namespace
from nnbackprop import config
from nnbackprop.cli import main
from nnbackprop.comparison import parity
from nnbackprop.config import Config
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import UsageError
from nnbackprop.layers import ACTIVATIONS, ELU, Dense, Dropout, ReLU
from nnbackprop.losses import MeanSquaredError, SoftmaxCrossEntropy
from nnbackprop.network import Sequential
from nnbackprop.optimizers import SGD, Adam
from nnbackprop.penalties import WeightPenalty
from nnbackprop.random import Draw
from nnbackprop.report.apart import apart
from nnbackprop.training.trainer import Trainer
from nnbackprop.verify.parity import compare
from nnbackprop.verify.parity_kinks import has_kink
from nnbackprop.verify.parity_lane import Lane, batches
from nnbackprop.verify.parity_results import KINDS, Comparison, difference

SCRIPT = Path(__file__).parents[1] / "scripts" / "parity.py"
FEATURES, CLASSES, SAMPLES, BATCH = 20, 5, 160, 32


def samples() -> Dataset:
    """Normally distributed inputs (160, 20) in classes of random direction; any data would do."""
    rng = np.random.Generator(np.random.Philox(key=0))
    inputs = rng.standard_normal((SAMPLES, FEATURES))
    labels = np.argmax(inputs @ rng.standard_normal((FEATURES, CLASSES)), axis=1).astype(np.int32)
    return Dataset(inputs, labels, tuple("abcde"), source="random samples")


def trainer(backend: Backend, dtype: str = "float64", **options: Any) -> Trainer:
    """Dropout of the input and of both hidden layers, widths that 4 does not divide, Adam and L2."""
    network = Sequential(
        Dropout(0.1), Dense(17), ReLU(), Dropout(0.4), Dense(11), ReLU(), Dropout(0.2), Dense(CLASSES)
    )
    settings: dict[str, Any] = {"penalty": WeightPenalty(l2=1e-3), "batch_size": BATCH, "lr": 0.01, **options}
    return Trainer(network, SoftmaxCrossEntropy(), Adam(), backend=backend, dtype=dtype, **settings)


def compared(other: Backend, dtype: str = "float64", steps: int = 10) -> list[Comparison]:
    return compare(trainer(select("numpy"), dtype), [trainer(other, dtype)], samples(), steps)


class Other(NumpyBackend):
    """NumPy with one function replaced."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        super().__init__()
        self.xp = Namespace(np, **{"matmul": self.xp.matmul, **functions})


# Libraries that are right.


def test_a_hundred_steps_stay_within_rounding(backend: Backend) -> None:
    if type(backend).__name__ == "ReadonlyNumpy":
        pytest.skip("parameters are given away to the optimizer, which may write to them")
    (comparison,) = compared(backend, steps=100)
    assert {d.step for d in comparison.differences} == set(range(1, 101))
    assert comparison.passed
    assert not any(d.excuse for d in comparison.differences)
    assert max(d.relative for d in comparison.differences) <= 1e-12


def test_single_steps_in_float32_agree(backend: Backend) -> None:
    if type(backend).__name__ == "ReadonlyNumpy":
        pytest.skip("parameters are given away to the optimizer, which may write to them")
    same, own = compared(backend, "float32", steps=5)
    assert (same.begin, same.tolerance, own.begin, own.tolerance) == ("same weights", 1e-5, "own weights", None)
    assert same.passed
    assert own.passed


def test_every_tensor_is_compared_at_every_step() -> None:
    (comparison,) = compared(select("numpy"), steps=3)
    layers = trainer(select("numpy")).network.names
    parameters = [f"dense{i}.{name}" for i in (1, 2, 3) for name in ("W", "b")]
    expected = {("activations", name) for name in layers}
    expected |= {(kind, name) for kind in ("gradients", "weights") for name in parameters}
    assert set(comparison.tensors()) == expected
    assert all([d.step for d in rows] == [1, 2, 3] for rows in comparison.tensors().values())
    assert all(d.absolute == d.relative == d.norm == 0 for d in comparison.differences)


def test_the_weights_compared_are_those_of_a_trainer() -> None:
    """Two epochs, whose last batch of three is a short one: order, masks and rates are the trainer's own."""
    options = {"batch_size": 60, "lr": lambda step: 0.01 / (1 + step), "epochs": 2}
    ours, theirs = trainer(select("numpy"), **options), trainer(select("numpy"), **options)
    lane = Lane.of(ours, samples())
    state, rows = lane.begin(), batches(ours, SAMPLES)
    for k in range(6):
        state, shown = lane.step(state, k, next(rows))
    theirs.fit(samples())
    for a, b in zip(shown.params, theirs.params, strict=True):
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[name], b[name]) for name in a)


def test_the_masks_of_a_hundred_steps_are_equal_to_the_bit(backend: Backend) -> None:
    numpy = select("numpy")
    for step in range(100):
        ours, theirs = (
            b.to_numpy(
                Draw(3, b.asarray(np.array(step, np.int32)), layer=2).mask(b.xp, (32, 17), 0.4, b.xp.float64)
            )
            for b in (backend, numpy)
        )
        assert np.array_equal(ours, theirs)


# Libraries that are wrong.


def test_a_product_slightly_off_is_caught_where_it_is_first_used() -> None:
    off = Other(matmul=lambda a, b: np.matmul(a, b) * (1 + 1e-9))
    (comparison,) = compared(off)
    assert not comparison.passed
    first = comparison.first_failure()
    assert first
    assert (first.step, first.kind, first.tensor) == (1, "activations", "dense1")
    assert first.relative == pytest.approx(1e-9, rel=1e-3)
    assert not any(comparison.within(kind) for kind in KINDS)


def test_a_wrong_gradient_alone_is_caught_in_its_layer() -> None:
    """Only the product that makes dW of the first layer, 20 x 17, is wrong: nothing forward shows it in step 1."""

    def wrong(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        product = np.matmul(a, b)
        return product * (1 + 1e-7) if product.shape == (FEATURES, 17) else product

    first = compared(Other(matmul=wrong))[0].first_failure()
    assert first
    assert (first.step, first.kind, first.tensor) == (1, "gradients", "dense1.W")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_mask_of_one_step_that_differs_is_caught_in_that_step(dtype: str) -> None:
    """The second hidden layer's dropout of step 4 keeps other units: three masks a step, in two passes forward."""

    class Masked(NumpyBackend):
        def __init__(self) -> None:
            super().__init__()
            self.xp = Namespace(np, matmul=self.xp.matmul, concat=self.concat)

        def concat(self, lanes: Sequence[np.ndarray], axis: int) -> np.ndarray:
            whole = np.concat(lanes, axis=axis)
            return np.roll(whole, 1, axis=1) if self.wrong and whole.shape[1] == 12 else whole  # 11 in fours

        def loop(self, step: Any, state: Any, data: Any, xs: Any) -> Any:
            self.wrong = int(xs["step"][0]) == 3
            return super().loop(step, state, data, xs)

    comparison = compared(Masked(), dtype, steps=6)[0]
    first = comparison.first_failure()
    assert first
    assert (first.step, first.kind, first.tensor) == (4, "activations", "dropout3")
    assert first.relative > 0.1
    assert not comparison.passed


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numbers_that_are_none_fail_even_where_nothing_is_judged(dtype: str) -> None:
    nan = Other(exp=lambda x: np.exp(x) * math.nan)
    for comparison in compared(nan, dtype, steps=2):
        first = comparison.first_failure()
        assert not comparison.passed
        assert first
        assert (first.step, first.kind, first.tensor) == (1, "gradients", "dense1.W")
        assert json.loads(json.dumps(comparison.to_json(), allow_nan=False))["first_failure"]["relative"] is None


# Rounding that looks like a fault.


def at_the_kink() -> Callable[[Backend], Trainer]:
    """A network of two units whose second, for sample 1, has a pre-activation of 5e-8: of the first step alone."""

    def weights(rng: Any, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return np.array([[1.0, -1.0], [0.5, 1.0 + 2.0**-24]] if shape == (2, 2) else [[1.0, 2.0]] * 2, dtype)

    network = Sequential(Dense(2, weights=weights, bias=None), ReLU(), Dense(2, weights=weights, bias=None))

    def make(backend: Backend) -> Trainer:
        options: dict[str, Any] = {"lr": 0.1, "batch_size": 3, "shuffle": False, "dtype": "float32"}
        return Trainer(network, MeanSquaredError(), SGD(), backend=backend, **options)

    return make


def test_the_unit_that_flips_is_named() -> None:
    """Sample 1 is (1, 1): its second pre-activation is 0 in float32, and noise of 1e-6 lifts it above."""

    def noisy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        product = np.matmul(a, b)
        z = product.shape == (3, 2) and np.abs(product) < 1e-7
        return np.where(z, product + np.float32(1e-6), product)

    data = Dataset(np.array([[2, 1], [1, 1], [1, 3]], np.float32), np.array([0, 1, 0], np.int32), ("a", "b"))
    make = at_the_kink()
    same, own = compare(make(select("numpy")), [make(Other(matmul=noisy))], data, 1)
    for comparison in (same, own):
        (kink,) = comparison.kinks
        assert (kink.step, kink.layer, kink.unit, kink.sample, kink.units) == (1, "relu1", 1, 1, 1)
        assert abs(kink.reference) < 1e-7
        assert kink.other == pytest.approx(kink.reference + 1e-6)
        assert comparison.passed
    # The first layer's gradient differs by far more than the tolerance, and only the kink excuses that.
    excused = {(d.kind, d.tensor): d for d in same.differences if d.excuse}
    assert set(excused) == {("gradients", "dense1.W"), ("weights", "dense1.W")}
    assert all(d.excuse == "kink" for d in excused.values())
    assert excused["gradients", "dense1.W"].relative > 1e-3


@pytest.mark.parametrize("word", ACTIVATIONS)
def test_kinks_are_known_by_the_slope_at_zero(word: str) -> None:
    assert has_kink(ACTIVATIONS[word]()) == (word in ("relu", "leaky-relu"))


def test_an_elu_has_a_kink_unless_its_slopes_meet() -> None:
    assert not has_kink(ELU(1.0))
    assert has_kink(ELU(0.5))
    assert not has_kink(Dense(3))


def test_the_slope_of_a_saturated_sigmoid_is_left_to_rounding() -> None:
    """y (1 - y) at 1 - y = 1e-6 keeps ten digits of float64: another last bit of y is nobody's fault."""
    other = Other(tanh=lambda x: np.nextafter(np.tanh(x), 0.0))
    network = Sequential(Dense(2), ACTIVATIONS["sigmoid"](), Dense(2))
    data = Dataset(np.array([[19.0, 19.0], [18.0, 19.5]]), np.array([0, 1], np.int32), ("a", "b"))

    def make(backend: Backend, seed: int) -> Trainer:
        loss = SoftmaxCrossEntropy()
        return Trainer(network, loss, SGD(), 0.1, backend=backend, dtype="float64", batch_size=1, seed=seed)

    seen = 0
    for seed in range(5):
        (comparison,) = compare(make(select("numpy"), seed), [make(other, seed)], data, 4)
        assert comparison.passed
        excused = [d for d in comparison.differences if d.excuse]
        seen += len(excused)
        assert all(d.excuse == "rounding" and d.relative > 1e-12 and d.absolute < 1e-13 for d in excused)
    assert seen
    wrong = Other(tanh=lambda x: np.tanh(x) * (1 - 1e-10))
    (comparison,) = compare(make(select("numpy"), 0), [make(wrong, 0)], data, 4)
    assert not comparison.passed


# Numbers.


def test_differences_are_by_norm() -> None:
    def of(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
        d = difference(1, "weights", "dense1", "dense1.W", np.array(a, np.float32), np.array(b, np.float32))
        return d.absolute, d.relative

    assert of([3, 4], [3, 0]) == pytest.approx((4, 4 / 3))
    assert of([0, 0], [0, 0]) == (0, 0)
    assert of([1, 1], [0, 0]) == (1, math.inf)
    assert of([math.nan], [1]) == of([math.inf], [math.inf]) == (math.inf, math.inf)
    assert of([3e-30], [1e-30])[1] == pytest.approx(2)  # squares of which float32 cannot hold


# The recipe and the command.

RECIPE = """
data = "weight-height"
test_fraction = 0.0
hidden = [5]
dropout = [0.1, 0.4]
optimizer = "adam"
batch_size = 3
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NNBACKPROP_BACKEND", "NNBACKPROP_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return str(path)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["parity", *words])
    return int(stop.value.code or 0)


def small(recipe: str, **changes: Any) -> Config:
    return config.resolve(recipe, changes)


def test_the_command_shows_kinds_tensors_tolerances_and_a_verdict(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(recipe, "--backends", "numpy,strict", "--steps", "4") == 0
    shown = capsys.readouterr().out
    for word in ("strict float64, own weights", "strict float32, same weights", "1e-12", "1e-05", "dense2.b"):
        assert word in shown
    assert shown.splitlines()[0] == "small, seed 0, 4 steps of 3 samples, compared with numpy"
    assert shown.splitlines()[-1] == "passed"


def test_json_has_its_shape(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(recipe, "--backends", "numpy,strict", "--steps", "3", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["libraries"]] == ["numpy", "strict"]
    assert (found["recipe"], found["steps"], found["batch_size"], found["passed"]) == ("small", 3, 3, True)
    assert [(row["dtype"], row["begin"], row["tolerance"]) for row in found["comparisons"]] == [
        ("float64", "own weights", 1e-12),
        ("float32", "same weights", 1e-5),
        ("float32", "own weights", None),
    ]
    for comparison in found["comparisons"]:
        assert sorted(comparison["worst"]) == ["activations", "gradients", "weights"]
        for tensor in comparison["tensors"]:
            assert sorted(tensor) == ["absolute", "excuse", "kind", "layer", "relative", "tensor"]
            assert [len(tensor[name]) for name in ("absolute", "relative", "excuse")] == [3, 3, 3]


def test_a_dtype_alone_is_compared_alone(recipe: str) -> None:
    found = parity(small(recipe), ["numpy", "strict"], 2, ["float64"])
    assert [comparison.dtype for comparison in found.comparisons] == ["float64"]


def test_absent_libraries_are_listed_with_what_mends_them(
    recipe: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_cupy(name: str, device: str | None = None) -> Backend:
        if name == "cupy":
            raise BackendError("CuPy is not installed.", "Install it.")
        return select(name, device)

    monkeypatch.setattr("nnbackprop.comparison.select", without_cupy)
    assert run(recipe, "--backends", "cupy,numpy,strict", "--steps", "1", "--dtype", "float64") == 0
    assert "cupy left out: CuPy is not installed. Install it." in capsys.readouterr().out
    assert run(recipe, "--backends", "numpy,cupy", "--json") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "two libraries at least" in said.err
    assert "CuPy is not installed. Install it." in said.err


def test_past_the_tolerance_is_exit_1_with_the_step_and_the_tensor(
    recipe: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Other(matmul=lambda a, b: np.matmul(a, b) * (1 + 1e-4))
    monkeypatch.setattr(
        "nnbackprop.comparison.select", lambda name, _: wrong if name == "strict" else select(name)
    )
    assert run(recipe, "--backends", "numpy,strict", "--steps", "3") == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "first past the tolerance at step 1, activations of dense1" in shown
    assert shown.endswith("FAILED: 2 of 3 comparisons")


def test_full_batches_and_single_samples_are_compared(recipe: str) -> None:
    for batch in ("full", 1):
        found = parity(small(recipe, batch_size=batch), ["numpy", "strict"], 5)
        assert found.passed
        assert found.batch_size == (4 if batch == "full" else 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--backends", "numpy"], "two libraries at least"),
        (["--backends", "numpy,numpy"], "two libraries at least"),
        (["--backends", "numpy,tensorflow"], "tensorflow"),
        (["--backends", "numpy,strict", "--steps", "0"], "a step at least"),
        (["--backend", "jax"], "--backends numpy,jax"),
    ],
)
def test_nothing_to_compare_is_refused(
    words: list[str], said: str, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(recipe, *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_trainers_of_two_dtypes_are_not_compared() -> None:
    with pytest.raises(UsageError, match="one dtype"):
        compare(trainer(select("numpy")), [trainer(select("numpy"), "float32")], samples(), 1)


def test_the_picture_has_a_line_a_comparison_and_dashed_tolerances(recipe: str, tmp_path: Path) -> None:
    found = parity(small(recipe), ["numpy", "strict"], 6)
    (axes,) = apart(found).axes
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    for comparison in found.comparisons:
        drawn = lines[f"strict {comparison.dtype}, {comparison.begin}"]
        assert list(drawn.get_xdata()) == [1, 2, 3, 4, 5, 6]
        largest = [max(d.relative for d in comparison.differences if d.step == k) for k in range(1, 7)]
        assert list(drawn.get_ydata()) == [max(value, 1e-18) for value in largest]
    dashed = [line.get_ydata()[0] for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert sorted(dashed) == [1e-12, 1e-5]
    assert axes.get_yscale() == "log"
    assert run(recipe, "--backends", "numpy,strict", "--steps", "1", "--plot", str(tmp_path / "apart.png")) == 0
    assert (tmp_path / "apart.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_script_is_the_command(recipe: str) -> None:
    words = [recipe, "--backends", "numpy,strict", "--steps", "2"]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "passed"
