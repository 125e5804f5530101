"""scikit-learn's MLPClassifier: `partial_fit`, which is its epoch, without shuffling."""

from __future__ import annotations

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.works import Problem
from nnbackprop.nn.layers.base import Params


class Sklearn:
    """Its first weights are ours, set after a call that makes it build its own; its optimizer begins anew then."""

    def __init__(self, problem: Problem, chunk: int) -> None:
        self.problem = problem
        config = problem.config
        hidden = tuple(layer["W"].shape[1] for layer in problem.weights[:-1])
        self.net = MLPClassifier(
            hidden,
            solver=config.optimizer,
            alpha=0.0,
            batch_size=problem.batch,
            learning_rate_init=config.lr,
            momentum=0.0,
            nesterovs_momentum=False,
            shuffle=False,
        )
        rows = problem.order[0]
        self.net.partial_fit(problem.x[rows], problem.t[rows], classes=np.unique(problem.t))
        for k, layer in enumerate(problem.weights):
            self.net.coefs_[k][...] = layer["W"]
            self.net.intercepts_[k][...] = layer["b"]
        params = self.net.coefs_ + self.net.intercepts_
        if config.optimizer == "adam":
            self.net._optimizer.t = 0
            for m, v, w in zip(self.net._optimizer.ms, self.net._optimizer.vs, params, strict=True):
                m[...], v[...] = np.zeros_like(w), np.zeros_like(w)

    def run(self, at: int, steps: int) -> None:
        """One `partial_fit`, which goes through all batches once."""
        rows = self.problem.batches(at, steps).reshape(-1)
        self.net.partial_fit(self.problem.x[rows], self.problem.t[rows])

    def weights(self) -> Params:
        """Copies."""
        pairs = zip(self.net.coefs_, self.net.intercepts_, strict=True)
        return tuple({"W": np.array(W), "b": np.array(b)} for W, b in pairs)


make = Sklearn
