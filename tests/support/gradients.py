"""Judges of a hand-derived gradient: central differences, and the autodiff of PyTorch and of JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backends import leaves, tree_map

DIFFERENCES = 1e-7
"""Largest relative distance from central differences: they are right to about 1e-9 in float64."""

AUTODIFF = 1e-12
"""Largest relative distance from somebody else's derivative, in float64."""


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """||a - b|| / ||b||, and ||a|| where b is all zeros."""
    assert a.shape == b.shape, (a.shape, b.shape)
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1.0))


def central_differences(f: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """df/dx, number by number: (f(x + h) - f(x - h)) / 2h, off by h^2/6 f'''."""
    slopes = np.empty_like(x)
    for i in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[i] += h
        below[i] -= h
        slopes[i] = (f(above) - f(below)) / (above[i] - below[i])
    return slopes


def kinkless(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of 0.1 to 3 in size and of either sign: no step of a difference crosses a corner at zero."""
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.1, 3.0, shape)


def with_leaf(tree: Any, i: int, array: np.ndarray) -> Any:
    """`tree` with its leaf number i replaced."""
    arrays = iter([*leaves(tree)[:i], array, *leaves(tree)[i + 1 :]])
    return tree_map(lambda _: next(arrays), tree)


def torch_gradients(f: Callable[..., Any], *arrays: np.ndarray) -> tuple[Any, list[np.ndarray]]:
    """f(torch, *arrays) and what PyTorch's autograd says of it; f gives a scalar J and whatever else."""
    torch = pytest.importorskip("torch", reason="the judge PyTorch is not installed")
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    J, y = f(torch, *tensors)
    J.backward()
    return y.detach().numpy(), [a.grad.numpy() for a in tensors]


def jax_gradients(f: Callable[..., Any], *arrays: np.ndarray) -> tuple[Any, list[np.ndarray]]:
    """f(jax, *arrays) and what `jax.grad` says of it; f gives a scalar J and whatever else."""
    jax = pytest.importorskip("jax", reason="the judge JAX is not installed")
    jax.config.update("jax_enable_x64", True)
    grad = jax.grad(lambda *a: f(jax, *a), argnums=tuple(range(len(arrays))), has_aux=True)
    grads, y = grad(*map(jax.numpy.asarray, arrays))
    return np.asarray(y), [np.asarray(g) for g in grads]


JUDGES = {"torch": torch_gradients, "jax": jax_gradients}
"""A row of a test table has a column of each name: the same formula in that library's own words."""
