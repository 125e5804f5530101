"""The networks of `own_code` are what they say: judged by differences over every entry, and by PyTorch."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support import own_code
from tests.support.own_code import Example, Plan
from tests.support.own_code.lists import RIGHT, WRONG

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


def hand(example: Example, params: Any) -> list[np.ndarray]:
    found = copy.deepcopy(example.grad_fn(params))
    if isinstance(params, dict):
        assert set(found) == set(params)
        return [np.asarray(found[name]) for name in params]
    return arrays(found)


def differences(example: Example, params: Any, sides: tuple[int, int] = (1, -1)) -> list[np.ndarray]:
    """(J(p + h) - J(p - h)) / 2h, entry by entry; or to one side."""
    params = copy.deepcopy(params)
    found = []
    for p in arrays(params):
        d = np.zeros_like(p)
        for i in np.ndindex(p.shape):
            centre, J = p[i], []
            for side in sides:
                p[i] = centre + side * STEP
                J.append(example.loss_fn(params))
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


def names(plans: list[Plan]) -> list[str]:
    return [plan.name() for plan in plans]


@pytest.mark.parametrize("plan", [p for p in RIGHT if p.style != KINKED], ids=Plan.name)
def test_a_right_network_has_the_gradient_of_its_loss(plan: Plan) -> None:
    example = own_code.example(plan)
    before = copy.deepcopy(example.params)
    for _ in range(2):
        assert error(hand(example, example.params), differences(example, before)) < 1e-6
    assert same(arrays(example.params), arrays(before))


@pytest.mark.parametrize("plan", [p for p in RIGHT if p.style == KINKED], ids=Plan.name)
def test_on_a_kink_the_gradient_lies_between_those_of_both_sides(plan: Plan) -> None:
    example = own_code.example(plan)
    left, right = (differences(example, example.params, sides) for sides in ((0, -1), (1, 0)))
    for g, low, high in zip(hand(example, example.params), left, right, strict=True):
        assert np.all((g > np.minimum(low, high) - 1e-4) & (g < np.maximum(low, high) + 1e-4))
    assert error(left, right) > 1e-3
    away = moved(example.params, 2)
    assert error(hand(example, away), differences(example, away)) < 1e-6


HEALTHY = {plan.name(): plan for plan in (replace(plan, bug="", at=()) for plan in WRONG)}


@pytest.mark.parametrize("plan", HEALTHY.values(), ids=list(HEALTHY))
def test_without_its_mistake_a_network_is_right(plan: Plan) -> None:
    example = own_code.example(plan)
    assert error(hand(example, example.params), differences(example, example.params)) < 1e-6


def test_the_lists_are_as_wide_as_documented() -> None:
    assert len(set(names(RIGHT))) == len(RIGHT) >= 30
    assert len(set(names(WRONG))) == len(WRONG) >= 40
    assert len({plan.bug for plan in WRONG}) >= 24
    assert {plan.layers for plan in RIGHT} == {1, 2, 3, 4, 5}
    assert {plan.loss for plan in RIGHT} == {"cross-entropy", "binary", "mse", "half"}


def test_batches_are_neither_two_nor_the_number_of_outputs() -> None:
    """The batch is neither 2 nor the number of outputs, so that n, 2 and k times too large are told apart."""
    for plan in WRONG:
        assert plan.n not in (2, plan.widths[-1]), plan.name()


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
    example = own_code.example(plan)
    leaves = [torch.tensor(p, requires_grad=True) for p in arrays(example.params)]
    W, b = plan.unpack(in_form_of(example.params, leaves))
    a, t = (torch.tensor(v) for v in plan.data())
    for i in range(plan.layers):
        a = a @ W[i] + b[i]
        a = ACTIVATIONS[plan.activation(i)](F, a) if i < plan.layers - 1 else a
    J = LOSSES[plan.loss](F, a, t) / (plan.n if plan.mean else 1)
    decay = plan.l2 / plan.n if plan.l2_averaged else plan.l2
    J = J + decay / 2 * sum((w**2).sum() for w in W + (b if plan.l2_biases else []))
    J.backward()
    assert example.loss_fn(example.params) == pytest.approx(J.item(), rel=1e-12)
    assert error(hand(example, example.params), [leaf.grad.numpy() for leaf in leaves]) < 1e-12
