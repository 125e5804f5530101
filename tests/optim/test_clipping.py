"""Clipped gradients as a part of the optimizer: the updates of PyTorch's loop, and what is around what."""

from __future__ import annotations

import numpy as np
import pytest

from backends import Backend, leaves
from nnbackprop.errors import UsageError
from nnbackprop.optim import SGD, Adam, ExponentialMovingAverage, GradientClipping, Momentum
from tests.support.small_runs import assert_equal_state, clouds, make_trainer


@pytest.mark.parametrize("limits", [{"norm": 0.05}, {"value": 0.01}, {"value": 0.02, "norm": 0.04}], ids=str)
def test_updates_are_those_of_pytorchs_loop_that_clips_before_each_step(
    backend: Backend, limits: dict[str, float]
) -> None:
    torch = pytest.importorskip("torch", reason="the judge PyTorch is not installed")
    optimizer = GradientClipping(Momentum(0.9), **limits)
    rng = np.random.default_rng(4)
    params = ({"W": rng.standard_normal((3, 2)), "b": rng.standard_normal(2)},)
    theirs = [torch.tensor(a, requires_grad=True) for a in leaves(params)]
    judge = torch.optim.SGD(theirs, lr=0.1, momentum=0.9)
    xp = backend.xp
    ours = tuple({name: backend.asarray(a) for name, a in layer.items()} for layer in params)
    state = optimizer.init(xp, ours)
    for t in range(1, 6):
        grads = tuple({name: rng.standard_normal(a.shape) for name, a in layer.items()} for layer in params)
        for param, grad in zip(theirs, leaves(grads), strict=True):
            param.grad = torch.tensor(grad)
        if "value" in limits:
            torch.nn.utils.clip_grad_value_(theirs, limits["value"])
        if "norm" in limits:
            torch.nn.utils.clip_grad_norm_(theirs, limits["norm"])
        judge.step()
        given = tuple({name: backend.asarray(a) for name, a in layer.items()} for layer in grads)
        scalars = {name: backend.asarray(np.asarray(v)) for name, v in optimizer.step_scalars(t, 0.1).items()}
        ours, state = optimizer.step(xp, ours, given, state, scalars)
    for a, b in zip(leaves(ours), theirs, strict=True):
        np.testing.assert_allclose(backend.to_numpy(a), b.detach().numpy(), rtol=1e-12)


def test_its_checkpoint_is_that_of_the_optimizer_within() -> None:
    plain, clipped = make_trainer(optimizer=Adam()), make_trainer(optimizer=GradientClipping(Adam(), norm=1e6))
    for trainer in (plain, clipped):
        trainer.fit(clouds())
    assert_equal_state(plain, clipped)  # no gradient is as long as that


def test_averages_are_found_within_it_and_around_it() -> None:
    within = make_trainer(optimizer=GradientClipping(ExponentialMovingAverage(SGD(), 0.8), norm=0.1))
    around = make_trainer(optimizer=ExponentialMovingAverage(GradientClipping(SGD(), norm=0.1), 0.8))
    for trainer in (within, around):
        trainer.fit(clouds())
        moved = zip(leaves(trainer.eval_params), leaves(trainer.params), strict=True)
        assert not any(np.array_equal(a, w) for a, w in moved)
    for a, b in zip(leaves(within.host_params()), leaves(around.host_params()), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("given", [Adam, "adam", None])
def test_an_optimizer_is_needed(given: object) -> None:
    hint = r"Write Adam\(\), with parentheses" if given is Adam else "got"
    with pytest.raises(UsageError, match=f"GradientClipping needs an optimizer.*{hint}"):
        GradientClipping(given, norm=1.0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"ExponentialMovingAverage needs an optimizer.*{hint}"):
        ExponentialMovingAverage(given)  # type: ignore[arg-type]


def test_a_limit_is_needed() -> None:
    with pytest.raises(UsageError, match=r"norm=1\.0, value=0\.5, or both"):
        GradientClipping(SGD())
