"""gradcheck_function on networks in plain NumPy: every mistake is caught and named, and no right network fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnbackprop.diagnostics.gradcheck.gradcheck import gradcheck_function
from nnbackprop.diagnostics.gradcheck.mistakes.catalogue import MISTAKES
from nnbackprop.errors import UsageError
from tests.support.claims import check
from tests.support.layer_mistakes.planted import MISTAKES as LAYER_MISTAKES
from tests.support.numpy_networks.spec import Spec
from tests.support.numpy_networks.specs import RIGHT, WRONG
from tests.support.numpy_networks.user_mistakes import CASES


@pytest.mark.parametrize("spec", WRONG, ids=Spec.name)
def test_a_mistake_fails_and_is_named(spec: Spec) -> None:
    report = check(spec)
    assert not report.passed
    # what is used in place of f' shows in the gradient of a layer's biases
    without_biases = spec.bias == "none" and "derivative" in spec.mistake
    assert report.mistakes[0].id == ("unknown" if without_biases else spec.expected), str(report)


@pytest.mark.parametrize("spec", RIGHT, ids=Spec.name)
def test_a_right_network_passes(spec: Spec) -> None:
    report = check(spec)
    assert report.passed, str(report)


@pytest.mark.parametrize("description", CASES)
def test_a_mistake_of_a_user_is_named_without_a_percentage(description: str) -> None:
    name, functions = CASES[description]
    report = gradcheck_function(*functions)
    assert not report.passed
    assert [mistake.name for mistake in report.mistakes] == [name], str(report)
    assert not any(word in str(report) for word in ("%", "sure"))


@pytest.mark.parametrize(
    ("description", "text"),
    [
        ("-0.1 times the gradient", "right up to the factor -0.1"),
        ("4.5 times the gradient", "right up to the factor 4.5"),
        ("1.99998 times the gradient", "right up to the factor 1.99998"),
        ("sigmoid and binary cross-entropy, delta = (a - y) a (1 - a)", "delete the factor p * (1 - p)"),
    ],
)
def test_a_report_tells_the_factor_and_the_fix(description: str, text: str) -> None:
    report = gradcheck_function(*CASES[description][1])
    assert text in f"{report.mistakes[0].evidence} {report.mistakes[0].fix}"


@pytest.mark.parametrize(
    ("columns", "transposed", "axis"), [(False, False, "axis=0"), (False, True, "axis=0"), (True, True, "axis=1")]
)
def test_the_fix_is_in_the_layout_of_the_parameters(columns: bool, transposed: bool, axis: str) -> None:
    """Squared error on tanh, db not summed: samples in rows with W (in, out) or (out, in), and in columns."""
    rng = np.random.default_rng(0)
    X, W, b = rng.normal(size=(7, 3)), rng.normal(size=(3, 2)), np.array([0.1, 0.2])

    def forward(p: dict) -> np.ndarray:
        if columns:
            return np.tanh(p["W"] @ X.T + p["b"])
        return np.tanh(X @ (p["W"].T if transposed else p["W"]) + p["b"])

    def grad(p: dict) -> dict:
        y = forward(p)
        dz = y * (1 - y * y) / 7
        return {"W": dz @ X if columns else dz.T @ X if transposed else X.T @ dz, "b": dz}

    params = {"W": W.T.copy() if transposed else W, "b": b[:, None] if columns else b}
    report = gradcheck_function(lambda p: float((forward(p) ** 2).sum() / 14), grad, params)
    assert [mistake.name for mistake in report.mistakes] == ["bias-not-summed"]
    assert axis in report.mistakes[0].fix


def test_every_mistake_of_the_catalogue_has_an_example() -> None:
    """Apart from those that no network of `numpy_networks` has: tested below and in test_layer_mistakes."""
    named = {spec.expected for spec in WRONG} | (set(LAYER_MISTAKES) & set(MISTAKES))
    named |= {name.removeprefix("likely ") for name, _ in CASES.values()}
    others = {"unknown", "nearly-right", "loss-does-not-move", "gradient-shape", "gradient-not-finite"}
    assert set(MISTAKES) - named == others


def square(a: np.ndarray) -> float:
    return float((a * a).sum())


def write_to_params(p: dict) -> dict:
    grads = {name: 2 * a for name, a in p.items()}
    p["W"] -= 0.1
    return grads


@pytest.mark.parametrize(
    ("grad_fn", "id", "evidence"),
    [
        (lambda p: {"W": 2 * p["W"].T, "b": 2 * p["b"]}, "gradient-shape", "shape (3, 2), and W has (2, 3)"),
        (
            lambda p: {"W": 2 * p["W"], "b": 2 * p["b"][:, None]},
            "gradient-shape",
            "b has (4,)",
        ),  # b - db is (4, 4)
        (lambda p: {"W": p["W"] * np.inf, "b": 2 * p["b"]}, "gradient-not-finite", "6 of 6 numbers"),
        (write_to_params, "params-changed", "A call changes W in place"),
        (lambda p: {"W": 2 * p["W"], "b": 2 * p["b"][None, :]}, None, ""),
    ],
)
def test_what_is_returned_is_checked_first(grad_fn: Callable, id: str | None, evidence: str) -> None:
    params = {"W": np.arange(6.0).reshape(2, 3) + 1, "b": np.arange(4.0) + 1}
    report = gradcheck_function(lambda p: square(p["W"]) + square(p["b"]), grad_fn, params)
    assert [(m.id, evidence in m.evidence) for m in report.mistakes] == ([(id, True)] if id else [])
    assert report.passed == (id is None)
    assert params["W"][0, 0] == params["b"][0] == 1


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


@pytest.mark.parametrize(
    ("loss_fn", "grad_fn", "params", "message"),
    [
        (lambda p: np.float32(1), dict, None, "float64"),
        (lambda p: float(np.float32(square(p["W"] + 0.1))), dict, None, "computes in float32"),
        (lambda p: float(np.sum(np.float32(p["W"]) ** 3, dtype=float)), dict, None, "computes in float32"),
        (lambda p: (1.0, {"W": p["W"]}), dict, None, r"tuple \(float, dict\)"),
        (lambda p: p["W"], dict, None, "one number"),
        (lambda p: float("nan"), dict, None, "finite"),
        (lambda p: square(p["W"]), lambda p: {"V": p["W"]}, None, "none for W"),
        (lambda p: square(p["W"]), lambda p: {"W": [[1.0] * 50] * 2}, None, r"\[0\]\[9\] \.\.\., none for W:"),
        (lambda p: square(p["W"]), lambda p: {"W": "no"}, None, "real numbers"),
        (lambda p: 1.0, dict, {}, "no parameters"),
    ],
)
def test_functions_that_cannot_be_checked_raise_usage_errors(
    loss_fn: Callable, grad_fn: Callable, params: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        gradcheck_function(loss_fn, grad_fn, {"W": np.ones((2, 3))} if params is None else params)


def test_a_loss_that_counts_is_not_taken_for_float32() -> None:
    """Shares of right answers in 8 samples are exact in float32 too."""
    X, y = np.random.default_rng(3).normal(size=(8, 3)), np.arange(8) % 2

    def loss(p: dict) -> float:
        return float(((X @ p["w"] > 0) == y).mean())

    report = gradcheck_function(loss, lambda p: {"w": p["w"]}, {"w": np.array([1e-4, 1e-4, -1e-4])})
    assert not report.passed


def two_layers() -> tuple[Callable, Callable, dict[str, np.ndarray]]:
    """tanh(tanh(X V) W) without biases, of weights near 0: the slopes are of the weights' size."""
    rng = np.random.default_rng(4)
    X, T = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))

    def forward(p: dict) -> tuple[np.ndarray, np.ndarray]:
        h = np.tanh(X @ p["V"])
        return h, np.tanh(h @ p["W"])

    def loss(p: dict) -> float:
        return square(forward(p)[1] - T)

    def backward(p: dict) -> dict:
        h, y = forward(p)
        dz = 2 * (y - T) * (1 - y * y)
        return {"V": X.T @ ((dz @ p["W"].T) * (1 - h * h)), "W": h.T @ dz}

    return loss, backward, {"V": 1e-4 * rng.normal(size=(3, 4)), "W": 1e-4 * rng.normal(size=(4, 2))}


@pytest.mark.parametrize(
    ("loss_fn", "grad_fn", "params"),
    [
        (lambda p: 1 + square(p["w"] - 1), lambda p: {"w": 2 * (p["w"] - 1)}, {"w": np.ones(3)}),
        (lambda p: 1e12 + square(p["w"]), lambda p: {"w": 2 * p["w"]}, {"w": np.array([1.0, 2.0, 3.0])}),
        two_layers(),
    ],
    ids=["at a minimum", "beside a large constant", "near weights of 0"],
)
def test_a_loss_that_hardly_moves_is_not_taken_for_float32(
    loss_fn: Callable, grad_fn: Callable, params: Any
) -> None:
    assert gradcheck_function(loss_fn, grad_fn, params).tensors


def test_entries_far_smaller_than_their_tensor_are_checked() -> None:
    """Steps of the tensor's size leave the domain of the logarithm."""
    w = np.array([1e-7, 2e-7, 3e-7, 1.0])

    def loss(p: dict) -> float:
        with np.errstate(invalid="ignore"):
            return float(p["w"][3] ** 2 - np.log(p["w"][:3]).sum())

    right = np.append(-1 / w[:3], 2 * w[3])
    assert gradcheck_function(loss, lambda p: {"w": right}, {"w": w}).passed
    report = gradcheck_function(loss, lambda p: {"w": right * [0, 0, 0, 1]}, {"w": w})
    assert [t.verdict for t in report.tensors] == ["WRONG"]


def test_parameters_that_are_all_small_are_checked() -> None:
    v = np.array([1e-7, 2e-7])

    def loss(p: dict) -> float:
        with np.errstate(invalid="ignore"):
            return float(np.log(p["v"]).sum())

    assert gradcheck_function(loss, lambda p: {"v": 1 / v}, {"v": v}).passed
    assert not gradcheck_function(loss, lambda p: {"v": 1.01 / v}, {"v": v}).passed


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
    with pytest.raises(KeyError, match="W2"):
        gradcheck_function(lambda p: p["W2"], dict, {"W": np.ones((2, 3))})


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


@pytest.mark.parametrize("constant", [0.0, 1e4, 1e8])
def test_the_relative_error_is_that_of_the_gradients_however_large_the_loss(constant: float) -> None:
    W, T = np.random.default_rng(0).normal(size=(2, 5, 4))
    for share, error in ((0.0, 1.0), (1.1, 0.1 / 1.1)):
        (check,) = gradcheck_function(
            lambda p: constant + square(p["W"] - T), lambda p, a=share: {"W": a * 2 * (p["W"] - T)}, {"W": W}
        ).tensors
        assert check.error == pytest.approx(error, rel=1e-2)


def test_a_factor_of_1_01_is_not_nearly_right_where_the_loss_is_large() -> None:
    """A regression on prices of about 300,000: J is 1e8, of which few digits are left for differences."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)), 3e5 + 1e4 * rng.normal(size=(50, 1))

    def grad(p: dict) -> dict:
        dz = 2 * (X @ p["W"] + p["b"] - y) / 50
        return {"W": X.T @ dz * 1.01, "b": dz.sum(axis=0)}

    params = {"W": rng.normal(size=(3, 1)), "b": np.array([3e5])}
    report = gradcheck_function(lambda p: ((X @ p["W"] + p["b"] - y) ** 2).mean(), grad, params)
    assert [m.name for m in report.mistakes] == ["likely constant-factor"]
    assert "1.01 in W" in report.mistakes[0].evidence


@pytest.mark.parametrize("wrong", ["x", "dz"])
def test_another_x_or_another_dz_leaves_the_same(wrong: str) -> None:
    """dW1 of tanh(x) in the place of x, or of dA in that of dz1, beside a right db1."""
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    params = {
        "W1": rng.normal(size=(3, 4)),
        "b1": rng.normal(size=4),
        "W2": rng.normal(size=(4, 2)),
        "b2": np.ones(2),
    }

    def forward(p: dict) -> tuple[np.ndarray, np.ndarray]:
        A = np.tanh(X @ p["W1"] + p["b1"])
        return A, A @ p["W2"] + p["b2"]

    def grad(p: dict) -> dict:
        A, Y = forward(p)
        dY = (Y - T) / 9
        dA = dY @ p["W2"].T
        dZ = dA * (1 - A * A)
        dW1 = np.tanh(X).T @ dZ if wrong == "x" else X.T @ dA
        return {"W1": dW1, "b1": dZ.sum(axis=0), "W2": A.T @ dY, "b2": dY.sum(axis=0)}

    report = gradcheck_function(lambda p: square(forward(p)[1] - T) / 18, grad, params)
    assert [m.name for m in report.mistakes] == ["likely wrong-layer-input"]
    assert "built of another x, or of another dz" in report.mistakes[0].evidence


@pytest.mark.parametrize(
    ("eps", "scale", "mistakes"),
    [*((0.0, scale, []) for scale in (1, 3, 5, 7)), (1e-12, 1, []), (1e-5, 1, ["nearly-right"])],
)
def test_a_logarithm_may_be_saturated_or_have_an_epsilon(eps: float, scale: float, mistakes: list[str]) -> None:
    """Logistic regression derived without eps. J has few digits in log(1 - a) where a is near 1."""
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

    report = gradcheck_function(loss, grad, {"w": scale * rng.standard_normal(3), "b": np.array(0.1)})
    assert report.passed == (not mistakes)
    assert [m.id for m in report.mistakes] == mistakes


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
