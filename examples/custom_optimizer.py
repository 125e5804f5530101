"""An optimizer of your own: Lion, which steps by the sign of a momentum; two steps checked, then trained with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import nnbackprop as nb


def lion_kernel(
    xp: Any, w: Any, dw: Any, m: Any, lr: Any, beta1: float, rest1: float, beta2: float, rest2: float
) -> tuple[Any, Any]:
    """One number: w <- w - lr sign(beta1 m + rest1 dw);  m <- beta2 m + rest2 dw, where rest = 1 - beta."""
    return w - lr * xp.sign(beta1 * m + rest1 * dw), beta2 * m + rest2 * dw


@dataclass(frozen=True)
class Lion(nb.Optimizer):
    """Lion without weight decay (Chen et al., Symbolic Discovery of Optimization Algorithms, 2023)."""

    beta1: float = 0.9
    beta2: float = 0.99

    kernel: ClassVar[Any] = lion_kernel
    state_names: ClassVar[tuple[str, ...]] = ("m",)  # an array like w for each name, zero at first

    def kernel_args(self, scalars: dict[str, Any]) -> tuple[Any, ...]:
        """What the kernel takes after the states; without this method it would be lr, beta1, beta2."""
        return scalars["lr"], self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2


# two steps of 0.1 from w = (1, 1), by hand: m = 0, so the first goes against the sign of dw, to (0.9, 1.1), and
# m = 0.01 dw = (0.02, -0.005); then 0.9 m + 0.1 dw = (0.018 - 0.1, -0.0045 + 0.3), which goes to (1.0, 1.0)
xp, lion = nb.select("numpy").xp, Lion()
w = {"w": np.array([1.0, 1.0])}
state = lion.init(xp, w)
for step, dw in enumerate(([2.0, -0.5], [-1.0, 3.0]), start=1):
    w, state = lion.step(xp, w, {"w": np.array(dw)}, state, lion.step_scalars(step, lr=0.1))
    print(f"step {step}: w = {w['w'].round(12).tolist()}, m = {state['m']['w'].round(12).tolist()}")
assert np.allclose(w["w"], [1.0, 1.0], rtol=0, atol=1e-15)
assert np.allclose(state["m"]["w"], [0.99 * 0.02 - 0.01, 0.99 * -0.005 + 0.03], rtol=0, atol=1e-15)

data = nb.load("iris")
scaling = nb.fit_scaling("standard", data.train)
network = nb.Sequential(nb.Dense(16), nb.ReLU(), nb.Dense(3))
for optimizer, lr in ((lion, 0.003), (nb.Adam(), 0.01)):
    trainer = nb.Trainer(
        network, nb.SoftmaxCrossEntropy(), optimizer, lr, batch_size=20, epochs=30, scaling=scaling
    )
    trainer.fit(data.train)
    print(f"{type(optimizer).__name__:5} {trainer.evaluate(data.test).accuracy:.1%} of the test part is right")
