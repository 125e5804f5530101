"""The mistakes people make when they derive backpropagation: the cause of each, and the fix."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import NamedTuple

WIDTH = 100  # of a mistake as text


@dataclass(frozen=True)
class Mistake:
    """What is wrong: `name` is the id alone where the evidence decides, else "likely ..." or "unknown, ..."."""

    id: str  # such as softmax-axis
    name: str
    evidence: str
    cause: str
    fix: str

    def __str__(self) -> str:
        """The name, then evidence, cause and fix in a paragraph each."""
        rows = (("evidence", self.evidence), ("cause", self.cause), ("fix", self.fix))
        texts = (fill(f"  {word:<9} {text}", WIDTH, subsequent_indent=" " * 12) for word, text in rows)
        return "\n".join([f"mistake: {self.name}", *texts])


class Guess(NamedTuple):
    """What a rule found; `certain` where the evidence fits none of the other known mistakes."""

    id: str
    evidence: str
    certain: bool = True

    def mistake(self, layout: dict[str, str]) -> Mistake:
        """With cause and fix, in the shapes of the user's own arrays."""
        cause, fix = MISTAKES[self.id]
        name = self.id if self.certain else f"likely {self.id}"
        return Mistake(self.id, name, self.evidence, cause, fix.format(**layout))


ROWS = {"z": "x @ W", "dW": "x.T @ dz", "dx": "dz @ W.T", "samples": "0", "classes": "1"}
"""Formulas for samples in rows and W (in, out), W (out, in), and samples in columns."""
ROWS_W_TRANSPOSED = ROWS | {"z": "x @ W.T", "dW": "dz.T @ x", "dx": "dz @ W"}
COLUMNS = {"z": "W @ x", "dW": "dz @ x.T", "dx": "W.T @ dz", "samples": "1, keepdims=True", "classes": "0"}

MISTAKES = {
    "missing-batch-mean": (
        "Loss and gradient do not agree on the mean over the batch: one is a mean and the other a sum.",
        "with a mean in the loss divide once, where it begins: dy = (p - t) / n.",
    ),
    "mean-twice": (
        "The gradient is divided by the batch twice, once in dy and once more in dW or db.",
        "divide once, in dy; then dW = {dW} and db = dz.sum(axis={samples}) without another mean.",
    ),
    "missing-output-mean": (
        "The loss is a mean over n samples and k outputs, and its gradient is divided by n alone.",
        "with np.mean over all entries of the loss: dy = (p - t) / t.size.",
    ),
    "mse-factor": (
        "The factor of the squared error's derivative does not belong to the loss: (y - t)^2 has 2 (y - t), and a "
        "mean over n samples and k outputs divides by n k.",
        "with J = mean((y - t)**2): dy = 2 * (y - t) / y.size; with J = sum((y - t)**2) / (2n): dy = (y - t) / n.",
    ),
    "constant-factor": (
        "Loss and gradient differ by a factor that is neither: a learning rate, a momentum, a weight of the loss.",
        "return the gradient of the number that loss_fn returns; the learning rate belongs in the update.",
    ),
    "l2-missing": (
        "The L2 penalty is in the loss or in the gradient, and not in the other.",
        "with lambda/2 * (W**2).sum() in the loss, add lambda * W to the gradient of the same W, and to no other.",
    ),
    "l1-missing": (
        "The L1 penalty is in the loss or in the gradient, and not in the other.",
        "with lambda * abs(W).sum() in the loss, add lambda * np.sign(W) to the gradient of the same W.",
    ),
    "l2-on-biases": (
        "The gradient penalises the biases, which the loss does not.",
        "add lambda * W to weight gradients alone; with the biases inside W, leave their column out.",
    ),
    "l2-not-averaged": (
        "The L2 penalties of loss and gradient have different factors: one is divided by the batch, or halved.",
        "with lambda/(2n) * (W**2).sum() in the loss, the gradient has lambda/n * W.",
    ),
    "activation-derivative-missing": (
        "The derivative of the activation is left out in backward.",
        "dz = dy * f'(z) before dW = {dW} and before going on to the layer below.",
    ),
    "activation-derivative-at-a": (
        "The activation's derivative is taken at its output a instead of its input z, or by a's formula at z.",
        "sigmoid: dz = dy * a * (1 - a) with a the output, or s(z) * (1 - s(z)) with z the input; tanh: 1 - a**2.",
    ),
    "wrong-activation-derivative": (
        "The derivative is that of another activation than the one in forward.",
        "use the derivative of the function you apply: sigmoid a * (1 - a), tanh 1 - a**2, ReLU (z > 0), leaky "
        "ReLU np.where(z > 0, 1, slope).",
    ),
    "output-derivative-missing": (
        "The last activation's derivative is left out: delta = a - t holds for softmax with cross-entropy and for "
        "sigmoid with binary cross-entropy, where it cancels, and not for squared error.",
        "with squared error, dz = (a - t) * f'(z) in the last layer too; or change the loss to cross-entropy.",
    ),
    "output-derivative-extra": (
        "The last activation's derivative is multiplied in, though with cross-entropy it cancels.",
        "delete the factor p * (1 - p): dz = (p - t) / n.",
    ),
    "cross-entropy-half": (
        "Binary cross-entropy has two terms, t log p and (1 - t) log(1 - p); one side has only the first.",
        "J = -mean(t * log(p) + (1 - t) * log(1 - p)) and dz = (p - t) / n, with both terms.",
    ),
    "class-weights-missing": (
        "Loss and gradient weigh classes or samples differently, such as with weights in the loss alone.",
        "multiply each sample's dz by the weight it has in the loss.",
    ),
    "wrong-targets": (
        "Loss and gradient compare the outputs with different targets, or with those of other samples.",
        "subtract 1 in each sample's own class: dz[np.arange(n), y] -= 1 with samples in rows; dz[:, y] -= 1 "
        "subtracts it from whole columns.",
    ),
    "softmax-diagonal": (
        "Softmax is derived as if each output depended on its own input alone: of its Jacobian p_i ([i = j] - "
        "p_j) only the diagonal p (1 - p) is used.",
        "with cross-entropy dz = (p - t) / n; else dz = p * (dp - (dp * p).sum(axis={classes}, keepdims=True))",
    ),
    "softmax-axis": (
        "Softmax is taken over the batch, or over all of it at once, so that not each sample's classes sum to 1.",
        "sum over the classes alone: e / e.sum(axis={classes}, keepdims=True).",
    ),
    "weight-transposed": (
        "In backward the error is multiplied by W where its transpose belongs; the matrix is square, so no shape "
        "complains.",
        "z = {z} in forward is dx = {dx} in backward.",
    ),
    "wrong-layer-weights": (
        "The error goes back through another layer's weights.",
        "send the error of layer l+1 back through the weights of layer l+1: dx = {dx} with the W of z = {z}.",
    ),
    "wrong-layer-input": (
        "The gradient of W is built of another array than the one W was multiplied with in forward.",
        "dW = {dW} with x the very input of this layer: the activation of the layer below, after its dropout.",
    ),
    "wrong-layer-derivative": (
        "The activation's derivative is taken at another layer's z.",
        "layer l needs f'(z_l), of the same layer whose W and b are being derived.",
    ),
    "wrong-error-sent-back": (
        "The error sent to the layer below is not the one that dW is built of: a derivative is multiplied in once "
        "more, or not yet.",
        "compute dz once and use it for all: dW = {dW}, db = dz.sum(axis={samples}), dx = {dx}.",
    ),
    "dropout-mask-missing": (
        "Dropout's mask is used in one direction alone: units silenced in forward get an error in backward, or "
        "the other way round.",
        "keep the mask m of the forward pass and multiply: dx = m * dy.",
    ),
    "dropout-scale-missing": (
        "The surviving units were scaled by 1/keep in forward and their errors were not in backward.",
        "let the mask hold the scale, m = (u < keep) / keep, and use the same m in both directions.",
    ),
    "normalization-terms-missing": (
        "Batch normalisation's mean and variance depend on every sample, and their derivatives are left out.",
        "with h = (z - mean) / std: dz = (dh - dh.mean({samples}) - h * (dh * h).mean({samples})) / std.",
    ),
    "bias-not-summed": (
        "A bias serves every sample of the batch, so its gradient is the sum over all samples; here it is not.",
        "db = dz.sum(axis={samples}) (the 1/n is in dz already).",
    ),
    "sign-flipped": (
        "The gradient points downhill: its sign is the wrong one, as from t - y in place of y - t.",
        "dy = y - t, and the update subtracts: W -= lr * dW.",
    ),
    "updated-too-early": (
        "A layer's weights are updated before the error is sent back through them, so the layer below gets the "
        "gradient of another network.",
        "compute all gradients first and update all weights after, or take dx = {dx} before W changes.",
    ),
    "accumulated": (
        "Gradients of earlier calls are still in the arrays: they are added to and never set to zero.",
        "begin each call with fresh zeros, or assign (dW = ...) instead of adding (dW += ...).",
    ),
    "params-changed": (
        "A function writes to the parameters it is given.",
        "return gradients, and let the training loop update the weights.",
    ),
    "not-deterministic": (
        "Each call computes another function, as when dropout draws a new mask or the batch is drawn anew.",
        "draw masks and batch once, outside, and use the same ones in loss_fn and grad_fn.",
    ),
    "loss-does-not-move": (
        "The loss is the same whatever the parameters are: loss_fn computes from others than it is given, such as "
        "those of a notebook, or it counts right answers.",
        "compute the loss from the argument: def loss_fn(p): ... p['W1'] ...",
    ),
    "nearly-right": (
        "The gradient is that of a slightly other loss: an epsilon in a logarithm, a clip, or float32 somewhere.",
        "none is needed to train; to have it exact, derive what the loss computes, or take the epsilon away.",
    ),
    "gradient-zero": (
        "The gradient is never computed, or computed and not returned.",
        "return db = dz.sum(axis={samples}) and dW = {dW} of every layer.",
    ),
    "gradient-order": (
        "The gradients have the right numbers in the wrong places.",
        "return gradients in the order of the parameters; flatten both in the same order.",
    ),
    "gradient-not-finite": (
        "An exponential overflowed, or a division or logarithm met a zero.",
        "take softmax of z - z.max(axis={classes}, keepdims=True), and derive it together with the cross-entropy.",
    ),
    "gradient-shape": (
        "The gradient does not have the shape of its parameter.",
        "dW has the shape of W: for z = {z} it is {dW}.",
    ),
    "unknown": (
        "The pattern is none of the usual mistakes.",
        "look first at the last layer whose gradient is wrong: everything below inherits its error.",
    ),
}
"""Cause and fix by id; a fix has the placeholders of ROWS."""
