"""The networks of `own_code` are what they say: judged by differences over every entry, and by PyTorch."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support import own_code
from tests.support.own_code import Patient, Plan
from tests.support.own_code.lists import RIGHT, WRONG

IDS = """missing-batch-mean mean-twice mse-factor l2-missing l2-on-biases l2-not-averaged
activation-derivative-missing activation-derivative-at-a wrong-activation-derivative
output-derivative-missing softmax-diagonal softmax-axis weight-transposed wrong-layer-input wrong-layer-derivative
dropout-mask-missing dropout-scale-missing bias-not-summed sign-flipped
updated-too-early accumulated params-changed not-deterministic"""
STEP = 3e-6
KINKED = "xor"
"""The style whose parameters lie on ReLU's kink."""


def arrays(params: Any) -> list[np.ndarray]:
    return [np.asarray(p) for p in (params.values() if isinstance(params, dict) else params)]


def in_form_of(params: Any, values: list[np.ndarray]) -> Any:
    return dict(zip(params, values, strict=True)) if isinstance(params, dict) else values


def moved(params: Any, seed: int) -> Any:
    rng = np.random.Generator(np.random.Philox(key=seed))
    return in_form_of(params, [p + 0.3 * rng.standard_normal(p.shape) for p in arrays(params)])


def hand(patient: Patient, params: Any) -> list[np.ndarray]:
    found = copy.deepcopy(patient.grad_fn(params))
    if isinstance(params, dict):
        assert set(found) == set(params)
        return [np.asarray(found[name]) for name in params]
    return arrays(found)


def differences(patient: Patient, params: Any, sides: tuple[int, int] = (1, -1)) -> list[np.ndarray]:
    """(J(p + h) - J(p - h)) / 2h, entry by entry; or to one side."""
    params = copy.deepcopy(params)
    found = []
    for p in arrays(params):
        d = np.zeros_like(p)
        for i in np.ndindex(p.shape):
            centre, J = p[i], []
            for side in sides:
                p[i] = centre + side * STEP
                J.append(patient.loss_fn(params))
            p[i] = centre
            d[i] = (J[0] - J[1]) / (STEP * (sides[0] - sides[1]))
        found.append(d)
    return found


def distance(mine: np.ndarray, judge: np.ndarray, whole: float) -> float:
    """Relative, by norm; a tensor below 1e-3 of the whole gradient is measured by that."""
    return float(np.linalg.norm(mine - judge) / max(np.linalg.norm(judge), 1e-3 * whole, 1e-12))


def error(mine: list[np.ndarray], judge: list[np.ndarray]) -> float:
    """The worst tensor's distance; infinite where a shape is wrong."""
    if [g.shape for g in mine] != [g.shape for g in judge]:
        return float("inf")
    whole = float(np.sqrt(sum(np.sum(g**2) for g in judge)))
    return max(distance(g, d, whole) for g, d in zip(mine, judge, strict=True))


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(v, w) for v, w in zip(a, b, strict=True))


def symptom(patient: Patient) -> str:
    """What shows that a gradient is wrong, or the way it is found; "" where nothing does."""
    before = copy.deepcopy(patient.params)
    if patient.loss_fn(patient.params) != patient.loss_fn(patient.params):
        return "the loss changes"
    params = copy.deepcopy(before)
    first = hand(patient, params)
    if not same(arrays(params), arrays(before)):
        return "the parameters change"
    if not same(first, hand(patient, params)):
        return "the second answer differs"
    for at in (before, moved(before, 1)):
        if error(hand(patient, at), differences(patient, at)) > 1e-3:
            return "the gradient is wrong"
    return ""


def names(plans: list[Plan]) -> list[str]:
    return [plan.name() for plan in plans]


@pytest.mark.parametrize("plan", [p for p in RIGHT if p.style != KINKED], ids=Plan.name)
def test_a_right_network_has_the_gradient_of_its_loss(plan: Plan) -> None:
    patient = own_code.patient(plan)
    before = copy.deepcopy(patient.params)
    for _ in range(2):
        assert error(hand(patient, patient.params), differences(patient, before)) < 1e-6
    assert same(arrays(patient.params), arrays(before))


@pytest.mark.parametrize("plan", [p for p in RIGHT if p.style == KINKED], ids=Plan.name)
def test_on_a_kink_the_gradient_lies_between_those_of_both_sides(plan: Plan) -> None:
    patient = own_code.patient(plan)
    left, right = (differences(patient, patient.params, sides) for sides in ((0, -1), (1, 0)))
    for g, low, high in zip(hand(patient, patient.params), left, right, strict=True):
        assert np.all((g > np.minimum(low, high) - 1e-4) & (g < np.maximum(low, high) + 1e-4))
    assert error(left, right) > 1e-3
    away = moved(patient.params, 2)
    assert error(hand(patient, away), differences(patient, away)) < 1e-6


@pytest.mark.parametrize("plan", WRONG, ids=Plan.name)
def test_a_planted_mistake_shows(plan: Plan) -> None:
    expected = {
        "accumulated": "the second answer differs",
        "params-changed": "the parameters change",
        "not-deterministic": "the loss changes",
        "not-deterministic/gradient's mask": "the second answer differs",
    }
    found = symptom(own_code.patient(plan))
    assert found == expected.get(plan.bug, expected.get(plan.bug.split("/")[0], "the gradient is wrong"))


HEALTHY = {plan.name(): plan for plan in (replace(plan, bug="", at=()) for plan in WRONG)}


@pytest.mark.parametrize("plan", HEALTHY.values(), ids=list(HEALTHY))
def test_without_its_mistake_a_network_is_right(plan: Plan) -> None:
    patient = own_code.patient(plan)
    assert error(hand(patient, patient.params), differences(patient, patient.params)) < 1e-6


def test_the_lists_are_as_wide_as_they_say() -> None:
    assert len(set(names(RIGHT))) == len(RIGHT) >= 30
    assert len(set(names(WRONG))) == len(WRONG) >= 40
    assert len({plan.bug for plan in WRONG}) >= 24
    assert {patient.expected for patient in own_code.wrong()} == set(IDS.split())
    assert {patient.expected for patient in own_code.right()} == {None}
    assert {plan.layers for plan in RIGHT} == {1, 2, 3, 4, 5}
    assert {plan.loss for plan in RIGHT} == {"cross-entropy", "binary", "mse", "half"}


def test_the_ratio_that_a_mistake_leaves_is_no_other_mistakes() -> None:
    """The batch is neither 2 nor the number of outputs, so that n, 2 and k times too large are told apart."""
    for plan in WRONG:
        assert plan.n not in (2, plan.widths[-1]), plan.name()


def test_state_is_fresh() -> None:
    """What a patient kept or changed is not in the next one."""
    for used, fresh in zip(own_code.wrong(), own_code.wrong(), strict=True):
        used.grad_fn(used.params)
        again = own_code.patient(next(plan for plan in WRONG if plan.name() == used.name))
        assert same(arrays(fresh.params), arrays(again.params))
        assert same(hand(fresh, fresh.params), hand(again, again.params))


ACTIVATIONS = {
    "sigmoid": lambda F, z: z.sigmoid(),
    "tanh": lambda F, z: z.tanh(),
    "relu": lambda F, z: F.relu(z),
    "leaky": lambda F, z: F.leaky_relu(z, 0.1),
    "elu": lambda F, z: F.elu(z),
    "gelu": lambda F, z: F.gelu(z, approximate="tanh"),
    "silu": lambda F, z: F.silu(z),
    "softplus": lambda F, z: F.softplus(z),
    "identity": lambda F, z: z,
}
LOSSES = {
    "cross-entropy": lambda F, z, t: F.cross_entropy(z, t, reduction="sum"),
    "binary": lambda F, z, t: F.binary_cross_entropy_with_logits(z, t, reduction="sum"),
    "half": lambda F, z, t: F.mse_loss(z, t, reduction="sum") / 2,
}
IN_ROWS = [p for p in RIGHT if p.style == "rows" and p.loss in LOSSES and p.keep == 1 and p.output != "tanh"]


@pytest.mark.parametrize("plan", IN_ROWS, ids=Plan.name)
def test_pytorch_has_the_same_loss_and_gradient(plan: Plan) -> None:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    patient = own_code.patient(plan)
    leaves = [torch.tensor(p, requires_grad=True) for p in arrays(patient.params)]
    W, b = plan.unpack(in_form_of(patient.params, leaves))
    a, t = (torch.tensor(v) for v in plan.data())
    for i in range(plan.layers):
        a = a @ W[i] + b[i]
        a = ACTIVATIONS[plan.activation(i)](F, a) if i < plan.layers - 1 else a
    J = LOSSES[plan.loss](F, a, t) / (plan.n if plan.mean else 1)
    decay = plan.l2 / plan.n if plan.l2_averaged else plan.l2
    J = J + decay / 2 * sum((w**2).sum() for w in W + (b if plan.l2_biases else []))
    J.backward()
    assert patient.loss_fn(patient.params) == pytest.approx(J.item(), rel=1e-12)
    assert error(hand(patient, patient.params), [leaf.grad.numpy() for leaf in leaves]) < 1e-12
