"""Which loss is it, and what was taken for its derivative: curves of the last biases' gradient.

With the same outputs c (k,) for every sample the mean gradient is s D(c) (p(c) - m), m the mean target and s the
loss's factor: linear in (s, s m), which a few c determine, and a wrong model does not fit. Every mistaken
delta is a formula in the same two unknowns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .experiments import ELEMENTWISE, output, slope
from .pieces import norm

FITS = 1e-5
Expected = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Model:
    """A loss and its last activation, fitted: p (rounds, k) outputs, q = s m (k,) and s."""

    name: str
    squared: bool
    activation: str
    s: float
    q: np.ndarray
    p: np.ndarray


def model_of(c: np.ndarray, N: np.ndarray) -> Model | None:
    """The first usual loss whose gradient (rounds, k) at outputs c (rounds, k) is N."""
    if not np.isfinite(N).all():
        return None
    for name, squared, last in _usual():
        p = softmax(c) if last == "softmax" else output(ELEMENTWISE[last], c)
        J = _jacobian(last, c) if squared else np.stack([np.eye(c.shape[1])] * len(c))
        columns = np.concatenate([np.einsum("rij,rj->ri", J, p)[..., None], -J], axis=2)  # (rounds, k, 1 + k)
        system = columns.reshape(-1, 1 + c.shape[1])
        right = N.reshape(-1)
        if last == "softmax":  # whose targets sum to 1; its Jacobian alone would leave their sum open
            system = np.concatenate([system, [[-1.0, *np.ones(c.shape[1])]]])
            right = np.append(right, 0.0)
        (s, *q), *_ = np.linalg.lstsq(system, right, rcond=None)
        if norm(system @ [s, *q] - right) <= FITS * norm(N) and abs(s) > FITS * norm(N):
            return Model(name, squared, last, float(s), np.array(q), p)
    return None


def _usual() -> Iterator[tuple[str, bool, str]]:
    yield "softmax with cross-entropy", False, "softmax"
    yield "sigmoid with binary cross-entropy", False, "sigmoid"
    yield "squared error on softmax", True, "softmax"
    for last in ELEMENTWISE:
        yield f"squared error on {last}", True, last


def hypotheses(model: Model, c: np.ndarray) -> Iterator[tuple[str, str, Expected]]:
    """What people take for dJ/dy: the mistake's id, words, and the gradient expected (given the measured one)."""
    s, q, p = model.s, model.q, model.p
    delta = s * p - q

    def fixed(expected: np.ndarray) -> Expected:
        return lambda measured: expected

    if model.activation == "softmax":
        yield "softmax-diagonal", "(p - t) p (1 - p), the diagonal alone", fixed(delta * p * (1 - p))
        if not model.squared:
            yield "softmax-diagonal", "-t (1 - p), the diagonal alone", fixed(-q * (1 - p))
        yield "softmax-axis", "as if p did not depend on the outputs: a constant less t", _constant(q)
    if not model.squared:
        yield "output-derivative-missing", "dJ/dp without dp/dy", fixed(-q / p)
        yield "output-derivative-missing", "dJ/dp without dp/dy", fixed(delta / (p * (1 - p)))
        yield "wrong-activation-derivative", "(p - t) p (1 - p), a derivative too many", fixed(delta * p * (1 - p))
        return
    yield "output-derivative-missing", "a - t", fixed(delta)
    if model.activation != "softmax":
        last = ELEMENTWISE[model.activation]
        yield (
            "activation-derivative-at-a",
            f"(a - t) {model.activation}' taken at a",
            fixed(delta * slope(last, p)),
        )
        yield "wrong-activation-derivative", "(a - t) times f' squared", fixed(delta * slope(last, c) ** 2)
        yield "wrong-activation-derivative", "(a - t) (1 - a^2)", fixed(delta * (1 - p * p))
        yield "wrong-activation-derivative", "(a - t) a (1 - a)", fixed(delta * p * (1 - p))
        for other, layer in ELEMENTWISE.items():
            for at, z in (("z", c), ("a", p)):
                expected = fixed(delta * slope(layer, z))
                yield "wrong-activation-derivative", f"(a - t) {other}' at {at}", expected


def _constant(q: np.ndarray) -> Expected:
    """kappa - q, whatever kappa is."""
    return lambda measured: np.mean(measured + q) - q + np.zeros_like(measured)


def softmax(c: np.ndarray) -> np.ndarray:
    """softmax of each row."""
    e = np.exp(c - c.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _jacobian(last: str, c: np.ndarray) -> np.ndarray:
    """dp/dc (rounds, k, k)."""
    if last == "softmax":
        p = softmax(c)
        return np.einsum("ri,ij->rij", p, np.eye(c.shape[1])) - np.einsum("ri,rj->rij", p, p)
    return np.einsum("ri,ij->rij", slope(ELEMENTWISE[last], c), np.eye(c.shape[1]))
