"""The mistakes people make when they derive backpropagation, what each is, and what mends it."""

from __future__ import annotations

from typing import NamedTuple

from nnbackprop.diagnostics.findings import Finding


class Mistake(NamedTuple):
    """Where it comes from, and the fix."""

    cause: str
    fix: str


MISTAKES = {
    "missing-batch-mean": Mistake(
        "The loss is a mean over the batch and its gradient a sum: the 1/n is missing.",
        "divide once, where it begins: dy = (p - t) / n.",
    ),
    "mean-twice": Mistake(
        "The gradient is divided by the batch twice, once in dy and once more in dW or db.",
        "divide once, in dy; then dW = x.T @ dz and db = dz.sum(axis=0) without another mean.",
    ),
    "mse-factor": Mistake(
        "The factor of the squared error's derivative does not belong to the loss: (y - t)^2 has 2 (y - t), and a "
        "mean over n samples and k outputs divides by n k.",
        "with J = mean((y - t)**2): dy = 2 * (y - t) / y.size; with J = sum((y - t)**2) / (2n): dy = (y - t) / n.",
    ),
    "l2-missing": Mistake(
        "The L2 penalty is in the loss or in the gradient, and not in the other.",
        "with lambda/2 * (W**2).sum() in the loss, add lambda * W to the gradient of the same W, and to no other.",
    ),
    "l2-on-biases": Mistake(
        "The gradient penalises the biases, which the loss does not.",
        "add lambda * W to weight gradients alone; with a bias column, leave out that column.",
    ),
    "l2-not-averaged": Mistake(
        "The L2 penalty of the loss and that of the gradient have different factors: one is divided by the batch, "
        "or halved, and the other not.",
        "with lambda/(2n) * (W**2).sum() in the loss, the gradient has lambda/n * W.",
    ),
    "activation-derivative-missing": Mistake(
        "The derivative of the activation is left out on the way back.",
        "dz = dy * f'(z) before dW = x.T @ dz and before going on to the layer below.",
    ),
    "activation-derivative-at-a": Mistake(
        "The activation's derivative is taken at the wrong place: at its output a instead of its input z, or by "
        "the formula for a at z.",
        "sigmoid: dz = dy * a * (1 - a) with a the output, or s(z) * (1 - s(z)) with z the input; tanh: 1 - a**2.",
    ),
    "wrong-activation-derivative": Mistake(
        "The derivative is that of another activation than the one that runs forward.",
        "use the derivative of the function you apply: sigmoid a * (1 - a), tanh 1 - a**2, ReLU (z > 0).",
    ),
    "output-derivative-missing": Mistake(
        "The last activation's derivative is left out: delta = a - t holds for softmax with cross-entropy and for "
        "sigmoid with binary cross-entropy, where it cancels, and not for squared error.",
        "with squared error, dz = (a - t) * f'(z) in the last layer too; or change the loss to cross-entropy.",
    ),
    "softmax-diagonal": Mistake(
        "Softmax is derived as if each output depended on its own input alone: of its Jacobian p_i ([i = j] - "
        "p_j) only the diagonal p (1 - p) is used.",
        "softmax with cross-entropy: dz = (p - t) / n; else dz = p * (dp - (dp * p).sum(axis=1, keepdims=True))",
    ),
    "softmax-axis": Mistake(
        "Softmax is taken over the batch, so that each class sums to 1 over the samples, not each sample over the "
        "classes.",
        "sum over the classes: e / e.sum(axis=1, keepdims=True) for samples in rows, axis=0 for columns.",
    ),
    "weight-transposed": Mistake(
        "On the way back the error is multiplied by W where its transpose belongs; the matrix is square, so no "
        "shape complains.",
        "forward z = x @ W goes back as dx = dz @ W.T.",
    ),
    "wrong-layer-input": Mistake(
        "The gradient of W is built of another array than the one W was multiplied with on the way forward.",
        "dW = x.T @ dz with x the very input of this layer: the activation of the layer below, after its dropout.",
    ),
    "wrong-layer-derivative": Mistake(
        "The activation's derivative is taken at another layer's z.",
        "layer l needs f'(z_l), of the same layer whose W and b are being derived.",
    ),
    "dropout-mask-missing": Mistake(
        "Units that dropout silenced on the way forward get an error on the way back.",
        "keep the mask m of the forward pass and multiply: dx = m * dy.",
    ),
    "dropout-scale-missing": Mistake(
        "The surviving units were scaled by 1/keep on the way forward and their errors were not on the way back.",
        "let the mask hold the scale, m = (u < keep) / keep, and use the same m in both directions.",
    ),
    "bias-not-summed": Mistake(
        "A bias serves every sample of the batch, so its gradient is the sum over all samples; here it is not.",
        "db = dz.sum(axis=0) for samples in rows (the 1/n is in dz already).",
    ),
    "sign-flipped": Mistake(
        "The gradient points downhill: its sign is the wrong one, as from t - y in place of y - t.",
        "dy = y - t, and the update subtracts: W -= lr * dW.",
    ),
    "updated-too-early": Mistake(
        "A layer's weights are updated before the error is sent back through them, so the layer below gets the "
        "gradient of another network.",
        "compute all gradients first and update all weights after, or take dx = dz @ W.T before W changes.",
    ),
    "accumulated": Mistake(
        "Gradients of earlier calls are still in the arrays: they are added to and never set to zero.",
        "begin each call with fresh zeros, or assign (dW = ...) instead of adding (dW += ...).",
    ),
    "params-changed": Mistake(
        "A function that should only measure writes to the parameters it is given.",
        "return gradients, and let the training loop update the weights.",
    ),
    "not-deterministic": Mistake(
        "Each call computes another function, as when dropout draws a new mask or the batch is drawn anew.",
        "draw masks and batch once, outside, and use the same ones in loss_fn and grad_fn.",
    ),
    "loss-does-not-move": Mistake(
        "The loss is the same whatever the parameters are: loss_fn computes from others than it is given, such as "
        "those of a notebook, or it counts right answers.",
        "compute the loss from the argument: def loss_fn(p): ... p['W1'] ...",
    ),
    "nearly-right": Mistake(
        "The gradient is that of a slightly other loss: an epsilon in a logarithm, a clip, or float32 somewhere.",
        "none is needed to train; to have it exact, derive what the loss computes, or take the epsilon away.",
    ),
    "gradient-not-finite": Mistake(
        "An exponential overflowed, or a division or logarithm met a zero.",
        "take softmax of z - z.max(axis=1, keepdims=True), and derive it together with the cross-entropy.",
    ),
    "gradient-shape": Mistake(
        "The gradient does not have the shape of what it is the gradient of.",
        "dW has the shape of W: for z = x @ W it is x.T @ dz.",
    ),
    "unknown": Mistake(
        "The pattern is none of the usual mistakes.",
        "the last layer whose gradient is wrong is where to look first: everything below inherits its error.",
    ),
}


def finding(id: str, evidence: str, confidence: float) -> Finding:
    """A mistake as a finding."""
    cause, fix = MISTAKES[id]
    return Finding(id, "fault", evidence, cause, fix)
