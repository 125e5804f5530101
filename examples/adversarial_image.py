"""An image changed by its own gradient until the network sees another digit: the fast gradient sign method."""

from __future__ import annotations

import numpy as np

import nnbackprop as nb

data = nb.load("mnist")
train = data.train.take(np.arange(4000))
network, loss = nb.Sequential(nb.Dense(64), nb.ReLU(), nb.Dense(10)), nb.SoftmaxCrossEntropy()
scaling, backend = nb.fit_scaling("unit", train), nb.select("numpy")  # whose arrays those below are
trainer = nb.Trainer(network, loss, nb.Adam(), lr=0.002, epochs=6, scaling=scaling, backend=backend)
trainer.fit(train)
print(f"{trainer.evaluate(data.test).accuracy:.1%} of the test part is right")

xp, params = backend.xp, trainer.params
x = scaling.apply(data.test.inputs[:500], "float32")
t = data.test.targets[:500]
y, caches = network.forward(xp, params, x)
_, dy = loss(xp, y, t)
dx, _ = network.backward(xp, params, caches, dy, need_dx=True)  # dJ/dx: the way in which the loss grows fastest
for epsilon in (0.0, 0.02, 0.05, 0.1):
    moved = np.clip(x + epsilon * np.sign(dx), 0, 1).astype("float32")
    y, _ = network.forward(xp, params, moved)
    print(f"moved by {epsilon:4.2f} of white: {np.mean(np.argmax(y, axis=1) == t):6.1%} of 500 are still right")
