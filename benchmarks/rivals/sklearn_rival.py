"""scikit-learn's MLPClassifier: `partial_fit`, which is its epoch, without shuffling."""

from __future__ import annotations

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.workloads import Problem
from nnbackprop.nn.layers.base import Params


class Sklearn:
    """Its first weights are ours, set after a call that builds its own; the optimizer's state is then reset."""

    def __init__(self, problem: Problem) -> None:
        self.problem, workload = problem, problem.workload
        self.net = MLPClassifier(
            [layer["W"].shape[1] for layer in problem.weights[:-1]],
            solver="adam" if workload.adam else "sgd",
            alpha=0.0,
            epsilon=workload.epsilon,
            batch_size=problem.batch,
            learning_rate_init=workload.lr,
            momentum=0.0,
            nesterovs_momentum=False,
            shuffle=False,
        )
        rows = problem.order[0]
        self.net.partial_fit(problem.x[rows], problem.t[rows], classes=np.arange(10))
        for k, layer in enumerate(problem.weights):
            self.net.coefs_[k][...] = layer["W"]
            self.net.intercepts_[k][...] = layer["b"]
        if workload.adam:
            self.net._optimizer.t = 0
            for moment in (*self.net._optimizer.ms, *self.net._optimizer.vs):
                moment[...] = 0

    def prepare(self, rows: np.ndarray) -> np.ndarray:
        return rows.reshape(-1)

    def run(self, batches: np.ndarray) -> None:
        """One `partial_fit`, which goes through all batches once."""
        self.net.partial_fit(self.problem.x[batches], self.problem.t[batches])

    def weights(self) -> Params:
        pairs = zip(self.net.coefs_, self.net.intercepts_, strict=True)
        return tuple({"W": np.array(W), "b": np.array(b)} for W, b in pairs)


make = Sklearn
