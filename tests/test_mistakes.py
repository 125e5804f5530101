"""Mistakes planted in plain NumPy networks: every one caught and named, and no right network accused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import own_code
import pytest
from own_code.lists import RIGHT, WRONG
from own_code.plan import Plan

from nnbackprop.errors import UsageError
from nnbackprop.verify.gradients import gradcheck_function
from nnbackprop.verify.mistakes import MISTAKES


@pytest.mark.parametrize("plan", WRONG, ids=Plan.name)
def test_a_planted_mistake_is_caught_and_named_first(plan: Plan) -> None:
    patient = own_code.patient(plan)
    report = gradcheck_function(patient.loss_fn, patient.grad_fn, patient.params)
    assert not report.passed
    assert report.mistakes[0].id == patient.expected, str(report)


@pytest.mark.parametrize("plan", RIGHT, ids=Plan.name)
def test_a_right_network_is_not_accused(plan: Plan) -> None:
    patient = own_code.patient(plan)
    report = gradcheck_function(patient.loss_fn, patient.grad_fn, patient.params)
    assert report.passed, str(report)
    assert max(tensor.error for tensor in report.tensors) < 1e-7


def test_every_mistake_that_can_be_named_is_planted() -> None:
    """Apart from those that no planted network has: shapes, NaN, and the admission that it is none of them."""
    planted = {patient.expected for patient in own_code.wrong()}
    assert set(MISTAKES) - planted == {"unknown", "gradient-shape", "gradient-not-finite"}


def square(W: np.ndarray) -> float:
    return float((W * W).sum())


def test_a_transposed_gradient_is_a_matter_of_shape() -> None:
    W = np.arange(6.0).reshape(2, 3) + 1
    report = gradcheck_function(lambda p: square(p["W"]), lambda p: {"W": 2 * p["W"].T}, {"W": W})
    assert [m.id for m in report.mistakes] == ["gradient-shape"]
    assert "transposed" in report.mistakes[0].evidence


def test_a_gradient_that_is_no_number_is_named() -> None:
    W = np.ones((2, 3))
    report = gradcheck_function(lambda p: square(p["W"]), lambda p: {"W": p["W"] * np.inf}, {"W": W})
    assert [m.id for m in report.mistakes] == ["gradient-not-finite"]


def test_scalars_as_in_a_net_written_out_are_parameters_too() -> None:
    def loss(p: dict) -> float:
        return float(np.sin(p["w"]) * p["b"])

    def grad(p: dict) -> dict:
        return {"w": np.cos(p["w"]) * p["b"], "b": np.sin(p["w"])}

    assert gradcheck_function(loss, grad, {"w": 0.3, "b": -1.2}).passed
    wrong = gradcheck_function(loss, lambda p: {**grad(p), "b": np.cos(p["w"])}, {"w": 0.3, "b": -1.2})
    assert [t.name for t in wrong.tensors if not t.passed] == ["b"]


def test_a_function_of_no_layers_is_checked_and_its_worst_tensor_said() -> None:
    params = [np.full((2, 2, 2), 0.5), np.array([1.0, 2.0])]
    report = gradcheck_function(
        lambda p: square(p[0]) * float(p[1].sum()),
        lambda p: [2 * p[0] * p[1].sum(), np.array([square(p[0]), 0.0])],
        params,
    )
    assert [t.passed for t in report.tensors] == [True, False]
    worst = report.tensors[1].worst
    assert worst is not None
    assert (worst.index, worst.hand) == ((1,), 0.0)
    assert worst.numeric == pytest.approx(2.0, rel=1e-7)
    assert report.mistakes[0].id == "unknown"


def test_params_are_the_persons_own_and_stay_as_they_are() -> None:
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
        (lambda p: p["W"], lambda p: p, "one number"),
        (lambda p: float("nan"), lambda p: p, "finite"),
        (lambda p: square(p["W"]), lambda p: {"V": p["W"]}, "none for W"),
        (lambda p: square(p["W"]), lambda p: {"W": "no"}, "real numbers"),
    ],
)
def test_functions_that_cannot_be_checked_are_told_so(loss_fn: Callable, grad_fn: Callable, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        gradcheck_function(loss_fn, grad_fn, {"W": np.ones((2, 3))})


def test_an_error_of_the_persons_own_comes_out_as_it_is() -> None:
    def loss(p: dict) -> float:
        raise KeyError("W2")

    with pytest.raises(KeyError, match="W2"):
        gradcheck_function(loss, lambda p: p, {"W": np.ones((2, 3))})


def test_a_function_that_refuses_extremes_still_gets_a_verdict() -> None:
    """Experiments put zeros in; a person's assert against that ends the experiment, not the report."""

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
