"""Wrong gradients that users' code has had, each with the name that is right: the five first had wrong names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from tests.support.numpy_networks.formulas import Array, sigmoid, softmax

Functions = tuple[Callable[[Any], float], Callable[[Any], Any], Any]
CASES: dict[str, tuple[str, Functions]] = {}
"""By description: the name that the report gives, and loss_fn, grad_fn and parameters."""


class OneHiddenLayer:
    """A right network with cross-entropy, of which the cases change a part. Outputs are softmax or sigmoids."""

    def __init__(self, seed: int, n: int = 20, k: int = 3, hidden: str = "tanh", out: str = "softmax") -> None:
        rng = np.random.default_rng(seed)
        self.n, self.k, self.hidden, self.out = n, k, hidden, out
        self.X, self.y = rng.normal(size=(n, 4)), rng.integers(0, k, n)
        self.T = np.eye(k)[self.y] if out == "softmax" else (rng.random((n, k)) > 0.5) * 1.0
        shapes = {"W1": (4, 6), "b1": 6, "W2": (6, k), "b2": k}
        self.params = {name: 0.6 * rng.normal(size=shape) for name, shape in shapes.items()}
        self.mask = (rng.random((n, 6)) < 0.5) / 0.5

    def forward(self, p: Any) -> tuple[Array, Array, Array]:
        z = self.X @ p["W1"] + p["b1"]
        a = np.tanh(z) if self.hidden == "tanh" else z * self.slope(z, z)
        y = a @ p["W2"] + p["b2"]
        return z, a, softmax(y, 1) if self.out == "softmax" else sigmoid(y)

    def outputs(self, p: Any) -> Array:
        return self.forward(p)[2]

    def loss(self, p: Any) -> float:
        P = self.outputs(p)
        other_term = (1 - self.T) * np.log(1 - P) if self.out == "sigmoid" else 0
        return float(-(self.T * np.log(P) + other_term).sum() / self.n)

    def slope(self, z: Array, a: Array) -> Array:
        return 1 - a * a if self.hidden == "tanh" else np.where(z > 0, 1.0, 0.01 if self.hidden == "leaky" else 0)

    def grad(self, p: Any, dz: Array | None = None, slope: Array | None = None, back: Array | None = None) -> Any:
        """Of the loss, or with another dz of the outputs, slope of the hidden layer, or dz that is sent back."""
        z, a, P = self.forward(p)
        dz = (P - self.T) / self.n if dz is None else dz
        da = (dz if back is None else back) @ p["W2"].T * (self.slope(z, a) if slope is None else slope)
        return {"W1": self.X.T @ da, "b1": da.sum(0), "W2": a.T @ dz, "b2": dz.sum(0)}


def add(
    description: str,
    name: str,
    net: OneHiddenLayer,
    loss: Callable[[OneHiddenLayer, Any], float] = OneHiddenLayer.loss,
    grad: Callable[[OneHiddenLayer, Any], Any] = OneHiddenLayer.grad,
) -> None:
    """A case of a network whose loss or gradient is another."""
    CASES[description] = name, (partial(loss, net), partial(grad, net), net.params)


add(
    "sigmoid and binary cross-entropy, delta = (a - y) a (1 - a)",
    "output-derivative-extra",
    OneHiddenLayer(17, n=30, k=1, hidden="relu", out="sigmoid"),
    grad=lambda net, p: net.grad(p, (P := net.outputs(p)) * (1 - P) * (P - net.T) / net.n),
)
add(
    "binary cross-entropy, a mean over n k, gradient (P - T) / n",
    "missing-output-mean",
    OneHiddenLayer(12, n=12, k=5, hidden="relu", out="sigmoid"),
    loss=lambda net, p: net.loss(p) / 5,
)
add(
    "b1 never gets a gradient",
    "gradient-zero",
    OneHiddenLayer(14, hidden="relu"),
    grad=lambda net, p: {**net.grad(p), "b1": np.zeros(6)},
)
add(
    "leaky ReLU sent back as ReLU",
    "wrong-activation-derivative",
    OneHiddenLayer(32, hidden="leaky"),
    grad=lambda net, p: net.grad(p, slope=(net.forward(p)[0] > 0) * 1.0),
)
add(
    "dz[:, y] -= 1",
    "wrong-targets",
    OneHiddenLayer(33),
    grad=lambda net, p: net.grad(p, (net.outputs(p) - net.T.any(axis=0)) / net.n),
)
add(
    "class weights in the loss alone",
    "class-weights-missing",
    OneHiddenLayer(37),
    loss=lambda net, p: float(-(net.T * [0.5, 1.0, 3.0] * np.log(net.outputs(p))).sum() / net.n),
)
add(
    "binary cross-entropy without its second term in the loss",
    "cross-entropy-half",
    OneHiddenLayer(38, k=2, out="sigmoid"),
    loss=lambda net, p: float(-(net.T * np.log(net.outputs(p))).sum() / net.n),
)
add(
    "binary cross-entropy without its second term in the gradient",
    "cross-entropy-half",
    OneHiddenLayer(39, k=2, out="sigmoid"),
    grad=lambda net, p: net.grad(p, -net.T * (1 - net.outputs(p)) / net.n),
)
add(
    "a mean in the gradient and a sum in the loss",
    "missing-batch-mean",
    OneHiddenLayer(42),
    loss=lambda net, p: net.loss(p) * net.n,
)
add(
    "L1 in the loss alone",
    "l1-missing",
    OneHiddenLayer(43),
    loss=lambda net, p: net.loss(p) + 0.05 * float(np.abs(p["W1"]).sum()),
)
add(
    "twice the gradient of b2",
    "likely constant-factor",
    OneHiddenLayer(47),
    grad=lambda net, p: {**net.grad(p), "b2": 2 * net.grad(p)["b2"]},
)
for factor in (-0.1, 4.5, 1.99998):  # an update, no batch, and nearly a batch of 2
    add(
        f"{factor} times the gradient",
        "constant-factor",
        OneHiddenLayer(40),
        grad=lambda net, p, factor=factor: {name: factor * g for name, g in net.grad(p).items()},
    )
add(
    "a dropout mask in the gradient alone",
    "dropout-mask-missing",
    OneHiddenLayer(44),
    grad=lambda net, p: net.grad(p, slope=net.mask * net.slope(*net.forward(p)[:2])),
)
add(
    "the output's derivative multiplied in again going back",
    "wrong-error-sent-back",
    OneHiddenLayer(26, n=12, k=2, out="sigmoid"),
    loss=lambda net, p: float(((net.outputs(p) - net.T) ** 2).sum() / 24),
    grad=lambda net, p: net.grad(
        p, (d := (P := net.outputs(p)) * (1 - P) * (P - net.T) / 12), back=d * P * (1 - P)
    ),
)


def case(description: str, name: str, *arguments: Any) -> Callable[[Callable[..., Functions]], Callable]:
    """A case of the functions that the decorated function makes."""

    def add_case(make: Callable[..., Functions]) -> Callable[..., Functions]:
        CASES[description] = name, make(*arguments)
        return make

    return add_case


@case("inputs scaled in the gradient alone", "unknown, the wrong piece is the gradient of W2")
def scaled_inputs() -> Functions:
    net, other = OneHiddenLayer(45), OneHiddenLayer(45)
    other.X = (other.X - other.X.mean(0)) / other.X.std(0)
    return net.loss, other.grad, net.params


@case("delta goes back through W[l] in place of W[l+1], in square layers", "wrong-layer-weights", -1)
@case("delta goes back through W[l+2] in place of W[l+1], in square layers", "wrong-layer-weights", 1)
def wrong_weights(offset: int) -> Functions:
    """Going back through weights that are `offset` layers off, where those have the same shape."""
    rng, sizes = np.random.default_rng(3), [4, 5, 5, 5, 3]
    Ws = [rng.normal(size=(a, b)) / np.sqrt(a) for a, b in pairwise(sizes)]
    bs = [0.1 * rng.normal(size=b) for b in sizes[1:]]
    X, T = rng.normal(size=(15, 4)), np.eye(3)[rng.integers(0, 3, 15)]

    def forward(p: Any) -> tuple[list[Array], Array]:
        A = [X]
        for W, b in zip(*p, strict=True):
            A.append(np.tanh(A[-1] @ W + b))
        return A, softmax(A[-2] @ p[0][-1] + p[1][-1], 1)

    def grad(p: Any) -> Any:
        A, P = forward(p)
        W, gW, gb, d = p[0], [], [], (P - T) / 15
        for i in (3, 2, 1, 0):
            gW, gb = [A[i].T @ d, *gW], [d.sum(0), *gb]
            other = W[i + offset] if 0 < i < 3 else W[i]
            d = d @ (other if other.shape == W[i].shape else W[i]).T * (1 - A[i] ** 2) if i else d
        return [gW, gb]

    return lambda p: float(-(T * np.log(forward(p)[1])).sum() / 15), grad, [Ws, bs]


@case("softmax over the whole batch", "softmax-axis")
def softmax_of_all() -> Functions:
    net = OneHiddenLayer(31)

    def probabilities(p: Any) -> Array:
        e = np.exp(net.forward(p)[1] @ p["W2"] + p["b2"])
        return e / e.sum()

    return (
        lambda p: float(-(net.T * np.log(probabilities(p))).sum() / net.n),
        lambda p: net.grad(p, (probabilities(p) - net.T) / net.n),
        net.params,
    )


@case("tanh' left out of a layer of 300 units", "activation-derivative-missing")
def wide() -> Functions:
    """Classes are balanced, so that the mean error is small and moves with the units' outputs."""
    net, rng = OneHiddenLayer(30, n=60, k=10), np.random.default_rng(30)
    net.T = np.eye(10)[np.arange(60) % 10]
    shapes = {"W1": (4, 300), "b1": 300, "W2": (300, 10), "b2": 10}
    scales = {"W1": 1.0, "b1": 0.1, "W2": 0.1, "b2": 0.0}
    net.params = {name: scales[name] * rng.normal(size=shape) for name, shape in shapes.items()}
    return net.loss, lambda p: net.grad(p, slope=np.ones(300)), net.params


@case("batch normalisation without its mean's derivative", "likely normalization-terms-missing", "mean")
@case("batch normalisation without its variance's derivative", "likely normalization-terms-missing", "variance")
def normalized(left_out: str) -> Functions:
    """Batch normalisation before tanh, derived without its mean's or its variance's part."""
    net = OneHiddenLayer(34)
    params = {**net.params, "g": np.random.default_rng(34).normal(size=6) + 1}
    params["W1"] += 0.2

    def forward(p: Any) -> tuple[Array, Array, Array, Array]:
        z = net.X @ p["W1"] + 0.5
        std = np.sqrt(z.var(0) + 1e-9)
        h = (z - z.mean(0)) / std
        a = np.tanh(p["g"] * h + p["b1"])
        return h, std, a, softmax(a @ p["W2"] + p["b2"], 1)

    def grad(p: Any) -> Any:
        h, std, a, P = forward(p)
        dz = (P - net.T) / net.n
        da = dz @ p["W2"].T * (1 - a * a)
        dh = da * p["g"]
        mean = 0 if left_out == "mean" else dh.mean(0)
        variance = 0 if left_out == "variance" else h * (dh * h).mean(0)
        return {
            "W1": net.X.T @ ((dh - mean - variance) / std),
            "b1": da.sum(0),
            "W2": a.T @ dz,
            "b2": dz.sum(0),
            "g": (da * h).sum(0),
        }

    return lambda p: float(-(net.T * np.log(forward(p)[3])).sum() / net.n), grad, params


@case("gradients returned in another order", "gradient-order")
def another_order() -> Functions:
    net = OneHiddenLayer(35)
    names = ("W1", "b1", "W2", "b2")
    return (
        lambda p: net.loss(dict(zip(names, p, strict=True))),
        lambda p: [net.grad(dict(zip(names, p, strict=True)))[name] for name in ("W1", "W2", "b1", "b2")],
        [net.params[name] for name in names],
    )


@case("a flat theta in another order", "gradient-order")
def flat_theta() -> Functions:
    net = OneHiddenLayer(36)
    shapes = {name: a.shape for name, a in net.params.items()}

    def unflatten(theta: Array) -> dict[str, Array]:
        parts, at = {}, 0
        for name, shape in shapes.items():
            size = int(np.prod(shape))
            parts[name], at = theta[at : at + size].reshape(shape), at + size
        return parts

    theta = np.concatenate([a.ravel() for a in net.params.values()])
    return (
        lambda p: net.loss(unflatten(p)),
        lambda p: np.concatenate([g.ravel(order="F") for g in net.grad(unflatten(p)).values()]),
        theta,
    )


@case("a tied weight counted once", "likely tied-weight")
def tied() -> Functions:
    rng = np.random.default_rng(41)
    X = rng.normal(size=(9, 4))

    def forward(p: Any) -> tuple[Array, Array]:
        a = np.tanh(X @ p["W"] + p["b"])
        return a, a @ p["W"].T + p["c"] - X

    def grad(p: Any) -> Any:
        a, e = forward(p)
        d = e @ p["W"] * (1 - a * a)
        return {"W": X.T @ d / 9, "b": d.sum(0) / 9, "c": e.sum(0) / 9}

    params = {"W": rng.normal(size=(4, 3)), "b": rng.normal(size=3), "c": rng.normal(size=4)}
    return lambda p: float((forward(p)[1] ** 2).sum() / 18), grad, params
