"""Train here, go on in PyTorch: W has shape (in, out) here and (out, in) there, and that is all there is to it."""

from __future__ import annotations

import numpy as np
import torch

import nnbackprop as nb

data = nb.load("iris", target="species")
trainer = nb.Trainer(
    nb.Sequential(nb.Dense(16), nb.ReLU(), nb.Dense(3)),
    nb.SoftmaxCrossEntropy(),
    nb.Adam(),
    lr=0.01,
    epochs=60,
    batch_size=16,
    scaling=nb.fit_scaling("per-feature", data.train),
)
trainer.fit(data.train)

model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
dense = [layer for layer in model if isinstance(layer, torch.nn.Linear)]
ours = [params for params in trainer.host_params() if params]
with torch.no_grad():
    for layer, params in zip(dense, ours, strict=True):
        layer.weight.copy_(torch.from_numpy(params["W"].T))
        layer.bias.copy_(torch.from_numpy(params["b"]))

x = data.test.inputs
scaled = torch.from_numpy(trainer.scaling.apply(x, "float32"))  # PyTorch gets the inputs scaled
theirs = torch.softmax(model(scaled), dim=1).detach().numpy()
difference = np.abs(theirs - trainer.predict_proba(x)).max()
print(f"{len(x)} flowers: probabilities differ by at most {difference:.1e}")
assert difference < 1e-5
