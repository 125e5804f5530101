"""A network as one writes it while learning, plain NumPy, with two mistakes in it; and what nnbackprop says of it.

python docs/learner.py
"""

import numpy as np

import nnbackprop as nb
from nnbackprop.diagnostics.doctor import check_metric

digits = nb.load("mnist-20x20", split=False).train
X, y = digits.inputs.astype(float), digits.targets.reshape(-1, 1)  # (5000, 400), (5000, 1)
T = (y == np.arange(10)).astype(float)  # (5000, 10), one-hot


def forward(p, X):
    a = np.tanh(X @ p["W1"] + p["b1"])
    z = a @ p["W2"] + p["b2"]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return a, e / e.sum(axis=1, keepdims=True)


def loss(p, X, T):
    return -(T * np.log(forward(p, X)[1])).sum() / len(X)


def backward(p, X, T):
    a, s = forward(p, X)
    dz = -T / s * s * (1 - s) / len(X)  # dJ/ds times ds/dz
    da = dz @ p["W2"].T * (1 - a**2)
    return {"W1": X.T @ da, "b1": da.sum(axis=0), "W2": a.T @ dz, "b2": dz.sum(axis=0)}


rng = np.random.default_rng(0)
p = {"W1": 0.05 * rng.standard_normal((400, 26)), "b1": np.zeros(26)}
p |= {"W2": 0.2 * rng.standard_normal((26, 10)), "b2": np.zeros(10)}
losses = []
for step in range(101):
    losses.append(loss(p, X, T))
    if step % 50 == 0:
        correct = forward(p, X)[1].argmax(axis=1) == y
        print(f"step {step:>3}  loss {losses[-1]:.3f}  accuracy {correct.mean():.1%}")
    p = {name: w - 0.1 * g for (name, w), g in zip(p.items(), backward(p, X, T).values(), strict=True)}

few, some = X[::100], T[::100]
print("\nIs backward the derivative of loss?\n")
print(nb.gradcheck_function(lambda p: loss(p, few, some), lambda p: backward(p, few, some), p))
print("\nAnd why 10%?\n")
print(check_metric(forward(p, X)[1].argmax(axis=1), y, losses=losses))
