"""Mistakes planted in plain NumPy networks: every one caught and named, and no right network accused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nnbackprop.diagnostics.gradcheck.gradcheck import gradcheck_function
from nnbackprop.diagnostics.gradcheck.mistakes.catalogue import MISTAKES
from nnbackprop.errors import UsageError
from tests.support import own_code
from tests.support.own_code.lists import RIGHT, WRONG
from tests.support.own_code.plan import Plan
from tests.support.own_code.reported import CASES


@pytest.mark.parametrize("plan", WRONG, ids=Plan.name)
def test_a_planted_mistake_fails_and_is_named(plan: Plan) -> None:
    example = own_code.example(plan)
    report = gradcheck_function(example.loss_fn, example.grad_fn, example.params)
    assert not report.passed
    # what stands in the place of f' is measured by a layer's biases
    without_biases = plan.bias == "none" and "derivative" in plan.bug
    assert report.mistakes[0].id == ("unknown" if without_biases else example.expected), str(report)


@pytest.mark.parametrize("plan", RIGHT, ids=Plan.name)
def test_a_right_network_passes(plan: Plan) -> None:
    example = own_code.example(plan)
    report = gradcheck_function(example.loss_fn, example.grad_fn, example.params)
    assert report.passed, str(report)


@pytest.mark.parametrize("description", CASES)
def test_a_reported_mistake_has_its_name(description: str) -> None:
    name, make = CASES[description]
    report = gradcheck_function(*make())
    assert not report.passed
    assert [mistake.name for mistake in report.mistakes] == [name], str(report)


@pytest.mark.parametrize("factor", [-0.1, 4.5, 1.99998])
def test_a_constant_factor_is_in_the_evidence(factor: float) -> None:
    report = gradcheck_function(*CASES[f"{factor} times the gradient"][1]())
    assert f"right up to the factor {factor:g}" in report.mistakes[0].evidence


def test_no_report_has_a_percentage() -> None:
    """Names are plain where the evidence decides, else likely or unknown."""
    reports = [gradcheck_function(*make()) for _, make in CASES.values()]
    assert not any("%" in str(report) or "sure" in str(report) for report in reports)
    names = {report.mistakes[0].name.partition(" ")[0].strip(",") for report in reports}
    assert {"likely", "unknown", "softmax-axis"} <= names


def test_the_fix_of_an_extra_derivative_is_to_delete_it() -> None:
    """A sigmoid with binary cross-entropy and an extra p (1 - p)."""
    _, make = CASES["sigmoid and binary cross-entropy, delta = (a - y) a (1 - a)"]
    report = gradcheck_function(*make())
    assert "delete the factor p * (1 - p)" in report.mistakes[0].fix


def summed_twice(W: np.ndarray, b: np.ndarray, z: Callable) -> str:
    """The fix for squared error on tanh whose db is not summed, by the layout that `z(X, W)` has."""
    X = np.random.default_rng(0).normal(size=(7, 3))
    columns = b.ndim == 2

    def grad(p: dict) -> dict:
        y = np.tanh(z(X, p["W"]) + p["b"])
        dz = y * (1 - y * y) / 7
        dW = X.T @ dz if W.shape == (3, 2) else dz @ X if columns else dz.T @ X
        return {"W": dW, "b": dz}

    report = gradcheck_function(
        lambda p: float((np.tanh(z(X, p["W"]) + p["b"]) ** 2).sum() / 14), grad, {"W": W, "b": b}
    )
    assert [mistake.name for mistake in report.mistakes] == ["bias-not-summed"]
    return report.mistakes[0].fix


def test_fixes_use_the_layout_of_the_parameters() -> None:
    W, b = np.random.default_rng(1).normal(size=(3, 2)), np.array([0.1, 0.2])
    assert "axis=0" in summed_twice(W, b, lambda X, W: X @ W)
    assert "axis=0" in summed_twice(W.T.copy(), b, lambda X, W: X @ W.T)
    assert "axis=1" in summed_twice(W.T.copy(), b[:, None], lambda X, W: W @ X.T)


def test_every_mistake_that_can_be_named_is_planted() -> None:
    """Apart from those that no network of `own_code` has, which are tested below."""
    planted = {example.expected for example in own_code.wrong()}
    planted |= {name.removeprefix("likely ") for name, _ in CASES.values()}
    others = {"unknown", "nearly-right", "loss-does-not-move", "gradient-shape", "gradient-not-finite"}
    assert set(MISTAKES) - planted == others


def square(W: np.ndarray) -> float:
    return float((W * W).sum())


@pytest.mark.parametrize(
    ("grad_fn", "id", "evidence"),
    [
        (lambda p: {"W": 2 * p["W"].T, "b": 2 * p["b"]}, "gradient-shape", "shape (3, 2), and W has (2, 3)"),
        (lambda p: {"W": 2 * p["W"], "b": 2 * p["b"][:, None]}, "gradient-shape", "b has (4,)"),
        (lambda p: {"W": p["W"] * np.inf, "b": 2 * p["b"]}, "gradient-not-finite", "6 of 6 numbers"),
    ],
)
def test_gradients_of_another_shape_or_not_finite_are_named(grad_fn: Callable, id: str, evidence: str) -> None:
    """b (4,) less db (4, 1) is a table (4, 4) by broadcasting."""
    params = {"W": np.arange(6.0).reshape(2, 3) + 1, "b": np.arange(4.0) + 1}
    report = gradcheck_function(lambda p: square(p["W"]) + square(p["b"]), grad_fn, params)
    assert [m.id for m in report.mistakes] == [id]
    assert evidence in report.mistakes[0].evidence


def test_a_row_gradient_of_a_vector_passes() -> None:
    b = np.arange(4.0) + 1
    assert gradcheck_function(lambda p: square(p["b"]), lambda p: {"b": 2 * p["b"][None, :]}, {"b": b}).passed


def test_a_loss_that_ignores_its_parameters_is_named() -> None:
    report = gradcheck_function(lambda p: 6.0, lambda p: {"W": 2 * p["W"]}, {"W": np.full((3, 2), 0.5)})
    assert [m.id for m in report.mistakes] == ["loss-does-not-move"]


def test_scalar_parameters_are_checked() -> None:
    def loss(p: dict) -> float:
        return float(np.sin(p["w"]) * p["b"])

    def grad(p: dict) -> dict:
        return {"w": np.cos(p["w"]) * p["b"], "b": np.sin(p["w"])}

    assert gradcheck_function(loss, grad, {"w": 0.3, "b": -1.2}).passed
    wrong = gradcheck_function(loss, lambda p: {**grad(p), "b": np.cos(p["w"])}, {"w": 0.3, "b": -1.2})
    assert [t.name for t in wrong.tensors if not t.passed] == ["b"]


def test_a_function_without_layers_is_checked() -> None:
    params = [np.full((2, 2, 2), 0.5), np.array([1.0, 2.0])]
    report = gradcheck_function(
        lambda p: square(p[0]) * float(p[1].sum()),
        lambda p: [2 * p[0] * p[1].sum(), np.array([square(p[0]), 0.0])],
        params,
    )
    assert [t.passed for t in report.tensors] == [True, False]
    worst = report.tensors[1].worst
    assert worst is not None
    assert (worst.index, worst.analytic) == ((1,), 0.0)
    assert worst.numerical == pytest.approx(2.0, rel=1e-7)
    assert report.mistakes[0].id == "unknown"


def test_params_are_not_changed_by_a_grad_fn_that_writes_to_them() -> None:
    W = np.ones((2, 2))

    def grad(p: dict) -> dict:
        p["W"] -= 0.1
        return {"W": 2 * (p["W"] + 0.1)}

    report = gradcheck_function(lambda p: square(p["W"]), grad, {"W": W})
    assert [m.id for m in report.mistakes] == ["params-changed"]
    assert not report.passed
    assert (W == 1).all()


@pytest.mark.parametrize(
    ("loss_fn", "grad_fn", "words"),
    [
        (lambda p: np.float32(1), lambda p: p, "float64"),
        (lambda p: float(np.float32(square(p["W"] + 0.1))), lambda p: p, "computes in float32"),
        (lambda p: float(np.sum(np.float32(p["W"]) ** 3, dtype=float)), lambda p: p, "computes in float32"),
        (lambda p: (1.0, {"W": p["W"]}), lambda p: p, r"tuple \(float, dict\)"),
        (lambda p: p["W"], lambda p: p, "one number"),
        (lambda p: float("nan"), lambda p: p, "finite"),
        (lambda p: square(p["W"]), lambda p: {"V": p["W"]}, "none for W"),
        (lambda p: square(p["W"]), lambda p: {"W": "no"}, "real numbers"),
    ],
)
def test_functions_that_cannot_be_checked_raise_usage_errors(
    loss_fn: Callable, grad_fn: Callable, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        gradcheck_function(loss_fn, grad_fn, {"W": np.ones((2, 3))})


def test_a_loss_that_counts_is_not_taken_for_float32() -> None:
    """Shares of right answers in 8 samples are exact in float32 too."""
    X, y = np.random.default_rng(3).normal(size=(8, 3)), np.arange(8) % 2

    def loss(p: dict) -> float:
        return float(((X @ p["w"] > 0) == y).mean())

    report = gradcheck_function(loss, lambda p: {"w": p["w"]}, {"w": np.array([1e-4, 1e-4, -1e-4])})
    assert not report.passed


def test_nested_parameters_are_named_by_their_path() -> None:
    params = [np.ones(2), {"layer1": {"W": np.ones(2)}}, (np.ones(2),)]

    def loss(p: list) -> float:
        return square(p[0]) + square(p[1]["layer1"]["W"]) + square(p[2][0])

    report = gradcheck_function(
        loss, lambda p: [2 * p[0], {"layer1": {"W": 2 * p[1]["layer1"]["W"]}}, (p[2][0],)], params
    )
    assert [t.name for t in report.tensors] == ["params[0]", "params[1]['layer1']['W']", "params[2][0]"]
    assert "in params[2][0]" in report.mistakes[0].evidence


def test_exceptions_of_the_loss_function_propagate() -> None:
    def loss(p: dict) -> float:
        raise KeyError("W2")

    with pytest.raises(KeyError, match="W2"):
        gradcheck_function(loss, lambda p: p, {"W": np.ones((2, 3))})


def test_a_function_that_raises_in_experiments_still_gets_a_report() -> None:
    """Experiments put zeros in; a user's assert against that ends the experiment, not the report."""

    def loss(p: dict) -> float:
        assert p["V"].any()
        return square(np.tanh(p["W"]) @ p["V"])

    def grad(p: dict) -> dict:
        y = np.tanh(p["W"]) @ p["V"]
        return {"W": 2 * y @ p["V"].T, "V": 2 * np.tanh(p["W"]).T @ y}

    rng = np.random.default_rng(0)
    params = {"W": rng.standard_normal((3, 4)), "V": rng.standard_normal((4, 2))}
    report = gradcheck_function(loss, grad, params)
    assert [t.passed for t in report.tensors] == [False, True]
    assert [m.id for m in report.mistakes] == ["unknown"]


def logistic(eps: float = 0.0, scale: float = 1.0) -> tuple[Callable, Callable, dict]:
    """Logistic regression with log(a + eps), derived as if eps were not there."""
    rng = np.random.default_rng(2)
    X, t = rng.standard_normal((12, 3)), rng.integers(0, 2, 12)

    def sigmoid(p: dict) -> np.ndarray:
        return 1 / (1 + np.exp(-X @ p["w"] - p["b"]))

    def loss(p: dict) -> float:
        a = sigmoid(p)
        return float(-np.mean(t * np.log(a + eps) + (1 - t) * np.log(1 - a + eps)))

    def grad(p: dict) -> dict:
        d = (sigmoid(p) - t) / 12
        return {"w": X.T @ d, "b": d.sum()}

    return loss, grad, {"w": scale * rng.standard_normal(3), "b": np.array(0.1)}


@pytest.mark.parametrize("scale", [1.0, 3.0, 5.0, 7.0])
def test_a_saturated_logarithm_passes(scale: float) -> None:
    """log(1 - a) with a near 1: J is far less exact than its last bit, and rightly derived."""
    assert gradcheck_function(*logistic(scale=scale)).passed


def test_an_epsilon_in_the_logarithm_is_nearly_right() -> None:
    assert gradcheck_function(*logistic(eps=1e-12)).passed
    report = gradcheck_function(*logistic(eps=1e-5))
    assert not report.passed
    assert [m.id for m in report.mistakes] == ["nearly-right"]


def test_no_parameters_raise_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no parameters"):
        gradcheck_function(lambda p: 1.0, lambda p: {}, {})


@pytest.mark.parametrize(("last", "id"), [(False, "activation-derivative-missing"), (True, "unknown")])
def test_biases_in_the_first_row_of_the_weights_are_found(last: bool, id: str) -> None:
    """A column of ones in front; behind, no other name is given."""
    rng = np.random.default_rng(4)
    X, T = rng.standard_normal((7, 3)), np.eye(2)[rng.integers(0, 2, 7)]
    ones = np.ones((7, 1))

    def wide(a: np.ndarray) -> np.ndarray:
        return np.hstack([a, ones] if last else [ones, a])

    def forward(p: dict) -> tuple[np.ndarray, np.ndarray]:
        a = np.tanh(wide(X) @ p["A"])
        e = np.exp(wide(a) @ p["B"])
        return a, e / e.sum(axis=1, keepdims=True)

    def grad(p: dict) -> dict:
        a, s = forward(p)
        d = (s - T) / 7
        back = d @ (p["B"][:-1] if last else p["B"][1:]).T  # and no (1 - a^2)
        return {"A": wide(X).T @ back, "B": wide(a).T @ d}

    params = {"A": rng.standard_normal((4, 5)), "B": rng.standard_normal((6, 2))}
    report = gradcheck_function(lambda p: float(-np.mean(np.log((forward(p)[1] * T).sum(1)))), grad, params)
    assert [m.id for m in report.mistakes] == [id]
