"""The networks of `numpy_networks` are right but for their mistake, by central differences."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.gradients import central_differences, distance
from tests.support.numpy_networks.network import Network
from tests.support.numpy_networks.spec import Spec
from tests.support.numpy_networks.specs import RIGHT, WRONG

KINKED = "xor"
"""The style whose parameters lie on ReLU's kink."""
SMOOTH = {s.name(): s for s in (*RIGHT, *(replace(s, mistake="", at=()) for s in WRONG)) if s.style != KINKED}


def arrays(params: Any) -> list[np.ndarray]:
    return [np.asarray(p) for p in (params.values() if isinstance(params, dict) else params)]


def in_form_of(params: Any, values: list[Any]) -> Any:
    return dict(zip(params, values, strict=True)) if isinstance(params, dict) else values


def hand_gradient(network: Network, params: Any) -> list[np.ndarray]:
    """In the order of the parameters."""
    grads = copy.deepcopy(network.grad(params))
    assert not isinstance(params, dict) or set(grads) == set(params)
    return arrays({name: grads[name] for name in params} if isinstance(params, dict) else grads)


def numerical_gradient(network: Network, params: Any) -> list[np.ndarray]:
    values = arrays(params)

    def loss(i: int, p: np.ndarray) -> float:
        return network.loss(in_form_of(params, [*values[:i], p, *values[i + 1 :]]))

    return [central_differences(lambda a, i=i: loss(i, a), p, h=3e-6) for i, p in enumerate(values)]


def error(grads: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest relative distance of a tensor; one below 1e-3 of the whole gradient is measured by that."""
    whole = float(np.sqrt(sum(np.sum(g**2) for g in expected)))
    sizes = [max(float(np.linalg.norm(d)), 1e-3 * whole) for d in expected]
    return max(
        distance(g, d) * (np.linalg.norm(d) or 1.0) / s for g, d, s in zip(grads, expected, sizes, strict=True)
    )


@pytest.mark.parametrize("spec", SMOOTH.values(), ids=list(SMOOTH))
def test_without_a_mistake_the_gradient_is_that_of_the_loss(spec: Spec) -> None:
    network = Network(spec)
    before = copy.deepcopy(network.params)
    expected = numerical_gradient(network, before)
    for _ in range(2):  # the second call returns the same
        assert error(hand_gradient(network, network.params), expected) < 1e-6
    assert all(np.array_equal(a, b) for a, b in zip(arrays(network.params), arrays(before), strict=True))


@pytest.mark.parametrize("spec", [s for s in RIGHT if s.style == KINKED], ids=Spec.name)
def test_beside_a_kink_the_gradient_is_that_of_the_loss(spec: Spec) -> None:
    network, rng = Network(spec), np.random.Generator(np.random.Philox(key=2))
    away = in_form_of(network.params, [p + 0.3 * rng.standard_normal(p.shape) for p in arrays(network.params)])
    assert error(hand_gradient(network, away), numerical_gradient(network, away)) < 1e-6
    assert error(hand_gradient(network, network.params), numerical_gradient(network, network.params)) > 1e-3


def test_the_lists_are_as_wide_as_documented() -> None:
    assert len({spec.name() for spec in RIGHT}) == len(RIGHT) >= 30
    assert len({spec.name() for spec in WRONG}) == len(WRONG) >= 40
    assert len({spec.mistake for spec in WRONG}) >= 24
    assert {spec.layers for spec in RIGHT} == {1, 2, 3, 4, 5}
    assert {spec.loss for spec in RIGHT} == {"cross-entropy", "binary", "mse", "half"}
    for spec in WRONG:  # a gradient n, 2 and k times too large can be told apart
        assert spec.n not in (2, spec.widths[-1]), spec.name()
