"""What docs/derivation.md shows is computed here: real networks, real people and digits, on NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import nnbackprop as nb
from backends import select
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.objective import Objective
from nnbackprop.runs import build
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.run_data import RunData

XP = select("numpy").xp
PLACES = {  # each parameter of the 2-2-1 network: its layer, its array and its place in it
    "w_{11}": (0, "W", (0, 0)),
    "w_{21}": (0, "W", (1, 0)),
    "w_{12}": (0, "W", (0, 1)),
    "w_{22}": (0, "W", (1, 1)),
    "b_1": (0, "b", (0,)),
    "b_2": (0, "b", (1,)),
    "v_1": (2, "W", (0, 0)),
    "v_2": (2, "W", (1, 0)),
    "c": (2, "b", (0,)),
}


def read(params: Params) -> dict[str, float]:
    """The nine numbers by their letters, of parameters or of gradients."""
    return {name: float(params[layer][array][place]) for name, (layer, array, place) in PLACES.items()}


@dataclass(frozen=True)
class Net:
    """The 2-2-1 network with its initial weights, and the four people: x (4, 2), t (4,)."""

    objective: Objective
    params: Params
    x: np.ndarray
    t: np.ndarray

    def gradients(self, who: slice) -> dict[str, float]:
        """The nine derivatives of the mean loss of some people, by the package."""
        return read(self.objective.value_and_grad(XP, self.params, self.x[who], self.t[who], None).grads)

    def measured(self, who: slice, step: float = 1e-5) -> dict[str, float]:
        """The nine slopes by central differences."""
        return {
            name: (self._moved(name, step, who) - self._moved(name, -step, who)) / (2 * step) for name in PLACES
        }

    def _moved(self, name: str, by: float, who: slice) -> float:
        layer, array, place = PLACES[name]
        params = [{key: a.copy() for key, a in p.items()} for p in self.params]
        params[layer][array][place] += by
        return float(self.objective.value(XP, tuple(params), self.x[who], self.t[who])[0])

    def forward(self, person: int) -> dict[str, float]:
        """x, s, h, y and t of one person by their letters, as the layers compute them."""
        x, letters = self.x[person : person + 1], (("s_1", "s_2"), ("h_1", "h_2"), ("s",), ("y",))
        found = dict(zip(("x_1", "x_2"), x[0].tolist(), strict=True))
        for layer, names in zip(self.objective.network.trace(XP, self.params, x).layers, letters, strict=True):
            found.update(zip(names, layer.y[0].tolist(), strict=True))
        return {**found, "t": float(self.t[person])}

    def errors(self, person: int) -> dict[str, float]:
        """The errors of the three neurons: the derivatives by their biases."""
        g = self.gradients(slice(person, person + 1))
        return {"\\delta": g["c"], "\\delta_1": g["b_1"], "\\delta_2": g["b_2"]}


@cache
def net() -> Net:
    """The recipe weight-height as it begins."""
    settings = resolve("weight-height", {})
    objective, people = build.objective(settings, 1), RunData.load(settings).train
    params = objective.network.init((2,), settings.seed, "float64")
    return Net(objective, params, np.asarray(people.inputs, np.float64), np.asarray(people.targets))


# The diagonal of softmax's Jacobian alone, in a plain NumPy network: the package cannot be put together so.

RULES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "(P - T) / n": lambda P, T: (P - T) / len(P),
    "-T (1 - P) / n": lambda P, T: -T * (1 - P) / len(P),
    "(P - T) P (1 - P) / n": lambda P, T: (P - T) * P * (1 - P) / len(P),
}
EPOCHS, BATCH, RATE, IMAGES = 15, 100, 0.1, 12_000
Weights = dict[str, np.ndarray]
Curves = dict[
    str, list[float]
]  # "accuracy" on the test part, "loss" in training, "largest" weight of W2, by epoch


def outputs(w: Weights, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hidden outputs A and probabilities P."""
    A = np.tanh(X @ w["W1"] + w["b1"])
    Z = A @ w["W2"] + w["b2"]
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return A, E / E.sum(axis=1, keepdims=True)


def backward(w: Weights, X: np.ndarray, T: np.ndarray, rule: str) -> Weights:
    """Gradients with dZ of the output by `rule`; all else is right."""
    A, P = outputs(w, X)
    dZ = RULES[rule](P, T)
    dA = dZ @ w["W2"].T * (1 - A * A)
    return {"W1": X.T @ dA, "b1": dA.sum(axis=0), "W2": A.T @ dZ, "b2": dZ.sum(axis=0)}


def softmax_runs() -> tuple[dict[str, Curves], list[dict[str, float]]]:
    """A run by each rule, and by epoch of the right one the cosine of each rule's gradient to the right one."""
    data = nb.load("mnist")
    X, X_test = (
        np.asarray(part.inputs, np.float32).reshape(len(part), -1) / 255 for part in (data.train, data.test)
    )
    X, T = X[:IMAGES], np.eye(10, dtype=np.float32)[np.asarray(data.train.targets)[:IMAGES]]
    curves: dict[str, Curves] = {name: {"accuracy": [], "loss": [], "largest": []} for name in RULES}
    cosines = []
    for name, found in curves.items():
        rng = np.random.default_rng(0)
        w = initial_weights(rng)
        for epoch in range(EPOCHS + 1):
            P = outputs(w, X)[1]
            predicted = outputs(w, X_test)[1].argmax(axis=1)
            found["accuracy"].append(float(np.mean(predicted == np.asarray(data.test.targets))))
            found["largest"].append(float(np.max(np.abs(w["W2"]))))
            found["loss"].append(float(-np.mean(np.log(np.maximum((P * T).sum(axis=1), 1e-30)))))
            if name == "(P - T) / n":
                right = backward(w, X, T, name)
                cosines.append({rule: cosine(flat(backward(w, X, T, rule)), flat(right)) for rule in RULES})
            for some in rng.permutation(IMAGES).reshape(-1, BATCH) if epoch < EPOCHS else ():
                gradients = backward(w, X[some], T[some], name)
                w = {key: w[key] - np.float32(RATE) * gradients[key] for key in w}
    return curves, cosines


def initial_weights(rng: np.random.Generator) -> Weights:
    """784-64-10 with weights of deviation 1 / sqrt(inputs)."""
    shapes = {"W1": (784, 64), "W2": (64, 10)}
    w = {key: rng.standard_normal(shape) / shape[0] ** 0.5 for key, shape in shapes.items()}
    return {key: a.astype(np.float32) for key, a in {**w, "b1": np.zeros(64), "b2": np.zeros(10)}.items()}


def flat(w: Weights) -> np.ndarray:
    """All numbers in one row, float64."""
    return np.concatenate([w[key].ravel() for key in sorted(w)]).astype(np.float64)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """1 in the same direction, 0 at a right angle."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


# What goes back to the hidden layer: shares, raw errors, the chain rule.


def split_runs() -> dict[str, tuple[float, float]]:
    """Mean cosine to the chain rule's of what is sent back, by shares and raw, before and after an epoch."""
    settings = resolve("rashid", {"epochs": 1})
    data = RunData.load(settings)
    trainer = build.trainer(settings, select("numpy"), data.train, fit_scaling(settings.scale, data.train))
    trainer.initialize(data.train)
    assert data.test is not None
    some = data.test.take(np.arange(1000))
    before = sent_back(trainer, some)
    trainer.fit(data.train)
    after = sent_back(trainer, some)
    return {name: (before[name], after[name]) for name in before}


def sent_back(trainer: nb.Trainer, some: Any) -> dict[str, float]:
    """Mean over samples of the cosine between each picture's dh and the chain rule's."""
    x = trainer.scaling.apply(some.inputs, "float64")
    params = tuple({key: np.asarray(a, np.float64) for key, a in p.items()} for p in trainer.params)
    y, _ = trainer.network.forward(XP, params, x)
    W = params[2]["W"]
    e = y - trainer.loss.encode_targets(XP, y, np.asarray(some.targets))
    chain = e * y * (1 - y) @ W.T
    sent = {"W_{ij} / S_j": e @ (W / W.sum(axis=0)).T, "W_{ij}": e @ W.T}
    return {
        name: float(np.mean([cosine(*pair) for pair in zip(dh, chain, strict=True)])) for name, dh in sent.items()
    }


# A slope measured with steps of many lengths.

STEPS = 10.0 ** np.arange(-1, -12.01, -0.25)


def step_errors() -> dict[str, np.ndarray]:
    """Relative error of slopes of the ex4 network along 8 directions of ±1 in its first weights, rms, by step.

    A step is a share of the norm of the tensor, as in `nnbackprop.diagnostics`.
    """
    settings = resolve("ex4", {})
    train = RunData.load(settings).train
    some = train.take(np.arange(0, len(train), len(train) // 20))
    objective = build.objective(settings, 10)
    x = fit_scaling(settings.scale, train).apply(some.inputs, "float64")
    params = objective.network.init(x.shape[1:], settings.seed, "float64")
    W = params[0]["W"]

    def value(at: np.ndarray) -> float:
        moved = ({**params[0], "W": at}, *params[1:])
        return float(objective.value(XP, moved, x, some.targets)[0])

    g = objective.value_and_grad(XP, params, x, some.targets, None).grads[0]["W"]
    directions = np.random.default_rng(0).choice((-1.0, 1.0), (8, *W.shape))
    rows = [measure(value, W, v, float(np.sum(g * v))) for v in directions]
    scale = np.sqrt(np.mean([exact**2 for _, exact in rows]))
    return {key: np.sqrt(np.mean([row[key] ** 2 for row, _ in rows], axis=0)) / scale for key in rows[0][0]}


def measure(
    value: Callable[[np.ndarray], float], W: np.ndarray, v: np.ndarray, exact: float
) -> tuple[dict[str, np.ndarray], float]:
    """Errors of one-sided, central and combined differences by step, and the exact slope."""
    lengths = STEPS * np.linalg.norm(W) / np.linalg.norm(v)
    up, down, half_up, half_down = (
        np.array([value(W + share * t * v) for t in lengths]) for share in (1, -1, 0.5, -0.5)
    )
    whole, half = (up - down) / (2 * lengths), (half_up - half_down) / lengths
    one_sided = (up - value(W)) / lengths
    slopes = {"one-sided": one_sided, "central": whole, "combined": (4 * half - whole) / 3}
    return {key: slope - exact for key, slope in slopes.items()}, exact
