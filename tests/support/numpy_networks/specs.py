"""The networks: right ones, and those with a mistake."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.numpy_networks.spec import Spec

BINARY: dict[str, Any] = {"output": "sigmoid", "loss": "binary"}
SQUARES: dict[str, Any] = {"output": "identity", "loss": "half"}
SIGMOIDS: dict[str, Any] = {"output": "sigmoid", "loss": "mse"}
SQUARE_SOFTMAX: dict[str, Any] = {"output": "softmax", "loss": "mse"}

ONE = Spec()
DEEP = Spec(widths=(5, 5, 5, 5, 3), hidden="tanh", n=9, form="list", bias="(1,k)")
TWO = Spec(widths=(4, 6, 6, 3), hidden="sigmoid", n=11, gain=2.0)
MEAN_SQUARES = Spec(widths=(4, 7, 5), hidden="sigmoid", n=12, **SIGMOIDS)
# samples in columns and Theta with its biases: the courses of Andrew Ng
NG = Spec("columns", (4, 5, 5, 1), "relu", n=10, **BINARY)
NG_SOFTMAX = Spec("columns", (5, 8, 4), "tanh", n=7)
EX4 = Spec("theta", (5, 6, 4), "sigmoid", n=9, l2=1.0, l2_averaged=True, bias="first column", **BINARY)
EX4_LIST = Spec("theta", (4, 5, 5, 3), "sigmoid", n=6, form="list", bias="first column", gain=2.0, **BINARY)
# layer objects, lecture notes, a book, a blog
OBJECTS = Spec("layers", (6, 8, 5, 4), "relu", n=13, form="list")
NOTES = Spec("notes", (5, 10, 3), "relu", n=14, l2=0.2)
BOOK = Spec("book", (4, 6, 3), "sigmoid", "sigmoid", "half", 6, form="weights-first", bias="(k,1)")
BLOG = Spec("blog", (3, 4, 1), "sigmoid", "sigmoid", "half", 5, mean=False, form="list", bias="none")

RIGHT = [
    # no hidden layer
    Spec(widths=(6, 4)),
    Spec(widths=(5, 3), zero_bias=True, l2=0.1),
    Spec(widths=(7, 1), n=15, form="list", **BINARY),
    Spec(widths=(4, 3), n=10, **SQUARES),
    Spec(widths=(4, 3), **SIGMOIDS),
    Spec("columns", (5, 1), n=20, **BINARY),
    Spec(widths=(4, 5), output="tanh", loss="half", bias="none"),
    # every activation, at several depths
    ONE,
    replace(ONE, hidden="sigmoid", zero_bias=True),
    replace(ONE, hidden="relu"),
    replace(ONE, hidden="relu", zero_bias=True, form="names"),
    replace(ONE, hidden="leaky", bias="(1,k)"),
    replace(ONE, hidden="elu", form="weights-first"),
    replace(ONE, hidden="gelu", n=17),
    replace(ONE, hidden="silu", l2=0.2),
    replace(ONE, hidden="softplus", l2=0.3, l2_averaged=True),
    replace(ONE, hidden="identity", bias="none"),
    Spec(widths=(4, 5, 6, 3), hidden="relu tanh", n=20),
    Spec(widths=(3, 12, 7, 4), hidden="gelu", n=9, form="names", l2=0.05),
    Spec(widths=(6, 6, 6, 6), hidden="silu", n=5, zero_bias=True, form="list"),
    Spec(widths=(4, 5, 6, 7, 3), hidden="elu", n=7, **SQUARES),
    Spec(widths=(4, 6, 5, 6, 3), hidden="relu", n=16, bias="(1,k)"),
    Spec(widths=(5, 4, 4, 4, 4, 3), hidden="tanh", n=6, form="weights-first"),
    Spec(widths=(3, 6, 6, 6, 6, 5), hidden="leaky softplus", n=12, l2=0.1, l2_averaged=True),
    Spec(widths=(4, 6, 6, 6, 6, 2), hidden="sigmoid", n=7, zero_bias=True),
    DEEP,
    TWO,
    # every loss
    MEAN_SQUARES,
    Spec(widths=(3, 9, 2), hidden="softplus", output="identity", loss="mse", n=5, form="list"),
    Spec(widths=(5, 6, 3), hidden="silu", output="tanh", loss="mse", bias="(1,k)"),
    Spec(widths=(5, 6, 4), hidden="relu", n=10, **SQUARE_SOFTMAX),
    Spec(widths=(5, 6, 1), hidden="tanh", n=18, bias="none", **SQUARES),
    Spec(widths=(4, 6, 5), hidden="leaky", n=9, l2=0.5, **BINARY),
    Spec(widths=(4, 8, 3), mean=False, n=12),
    Spec(widths=(4, 8, 5), mean=False, hidden="sigmoid", **SQUARES),
    Spec(widths=(4, 5, 2), mean=False, hidden="gelu", form="list", **BINARY),
    # penalties, dropout, size
    Spec(widths=(4, 7, 3), l2=0.3, l2_biases=True, n=10),
    Spec(widths=(4, 7, 3), l2=0.8, l2_averaged=True, l2_biases=True, hidden="relu", n=10),
    Spec(widths=(4, 10, 3), keep_prob=0.5, hidden="relu"),
    Spec(widths=(4, 9, 9, 3), keep_prob=0.8, l2=0.1, n=13, form="list"),
    replace(ONE, gain=0.01, zero_bias=True),
    replace(ONE, gain=5.0),
    replace(TWO, gain=0.1),
    Spec(widths=(4, 6, 3), hidden="relu", gain=6.0, **SQUARES),
    # samples in columns
    NG,
    NG_SOFTMAX,
    replace(NG, l2=0.7, l2_averaged=True, zero_bias=True),
    replace(NG, keep_prob=0.7, widths=(5, 8, 8, 1)),
    replace(NG_SOFTMAX, hidden="sigmoid", bias="none", form="list"),
    Spec("columns", (4, 6, 5, 6, 4, 3), "relu", n=15),
    Spec("columns", (3, 7, 2), "elu", n=6, **SQUARES),
    # Theta
    EX4,
    EX4_LIST,
    replace(EX4, widths=(3, 4), l2=2.0),
    replace(EX4, widths=(3, 4, 4, 4, 3), l2=0.5, zero_bias=True),
    # layer objects that return the same arrays at every call
    OBJECTS,
    replace(OBJECTS, l2=0.1),  # one z of its ReLUs is 2e-5: a wide step runs over the kink
    replace(OBJECTS, keep_prob=0.6, l2=0.1, hidden="gelu"),
    replace(OBJECTS, widths=(4, 6, 2), hidden="tanh", bias="none", form="dict", **SQUARES),
    # scripts
    NOTES,
    replace(NOTES, l2=0.0, zero_bias=True),
    BOOK,
    replace(BOOK, widths=(3, 5, 4, 2), mean=False),
    BLOG,
    Spec("xor", (2, 5, 1), "relu", n=4, zero_bias=True, **BINARY),
]


def wrong(mistake: str, *cases: tuple[Spec, dict[str, Any]] | Spec) -> list[Spec]:
    """The mistake in each of the networks, which may be changed, or have it in some layers only."""
    pairs = [case if isinstance(case, tuple) else (case, {}) for case in cases]
    return [replace(spec, mistake=mistake, **changes) for spec, changes in pairs]


WRONG = [
    # the mean over the batch
    *wrong("missing-batch-mean", ONE, (ONE, {"widths": (6, 4)}), DEEP, (ONE, {"l2": 0.2, "n": 10}), NG, NOTES),
    *wrong("missing-batch-mean", (EX4, {"l2": 0.0, "zero_bias": True}), EX4, BOOK, OBJECTS),
    *wrong("missing-batch-mean", (MEAN_SQUARES, {"n": 9}), (ONE, {"n": 20, "hidden": "relu", "zero_bias": True})),
    *wrong("missing-batch-mean/biases", NG, (NG_SOFTMAX, {"l2": 0.2})),
    *wrong("missing-batch-mean/weights", NG_SOFTMAX),
    *wrong("missing-batch-mean", (NG, {"at": (2,)}), (NG, {"at": (0,)})),
    *wrong("mean-twice", ONE, DEEP, (ONE, {"l2": 0.3, "hidden": "relu"}), NG, EX4, (MEAN_SQUARES, {"n": 7})),
    *wrong("mean-twice/going back", NG),
    *wrong("mean-twice/every layer", OBJECTS, (OBJECTS, {"widths": (5, 7, 3), "hidden": "tanh", "l2": 0.1})),
    # the factor of the squared error's derivative
    *wrong("mse-factor/2 missing", MEAN_SQUARES, (MEAN_SQUARES, {"widths": (4, 3), "output": "identity"})),
    *wrong("mse-factor/2 missing", (MEAN_SQUARES, {"l2": 0.2, "hidden": "relu", "output": "tanh"})),
    *wrong("mse-factor/2 too many", (DEEP, SQUARES), (NG_SOFTMAX, SQUARES), (ONE, {**SQUARES, "l2": 0.3})),
    *wrong("mse-factor/k missing", MEAN_SQUARES, (MEAN_SQUARES, {"widths": (5, 6, 6, 3), "output": "identity"})),
    # L2
    *wrong(
        "l2-missing", (ONE, {"l2": 0.5}), (DEEP, {"l2": 0.2}), EX4, NOTES, (NG, {"l2": 0.7, "l2_averaged": True})
    ),
    *wrong("l2-missing", (DEEP, {"l2": 0.3, "at": (0,)}), (ONE, {"l2": 0.4, "at": (1,), "zero_bias": True})),
    *wrong("l2-missing", (NOTES, {"at": (1,)}), (EX4, {"at": (0,)}), (OBJECTS, {"l2": 0.2, "at": (2,)})),
    *wrong("l2-missing", (ONE, {"widths": (6, 4), "l2": 0.3, "bias": "none"})),
    *wrong("l2-on-biases", (ONE, {"l2": 0.5}), (DEEP, {"l2": 0.2}), EX4, NOTES, (OBJECTS, {"l2": 0.3})),
    *wrong("l2-on-biases", (NG, {"l2": 2.0, "l2_averaged": True}), (ONE, {"l2": 0.6, "at": (0,)})),
    *wrong("l2-on-biases", (ONE, {"l2": 0.5, "zero_bias": True, "hidden": "relu"})),
    *wrong(
        "l2-not-averaged", EX4, (NG, {"l2": 0.5, "l2_averaged": True}), (DEEP, {"l2": 0.3, "l2_averaged": True})
    ),
    *wrong("l2-not-averaged", (ONE, {"widths": (5, 3), "l2": 0.6, "l2_averaged": True})),
    # the activation's derivative
    *wrong("activation-derivative-missing", ONE, DEEP, TWO, NG, EX4, NOTES, BOOK, BLOG, OBJECTS),
    *wrong("activation-derivative-missing", (ONE, {"hidden": "gelu"}), (ONE, {"hidden": "softplus", "l2": 0.1})),
    *wrong("activation-derivative-missing", (DEEP, {"at": (0,)}), (DEEP, {"at": (2,)}), (NG, {"at": (1,)})),
    *wrong("activation-derivative-at-a", ONE, (ONE, {"hidden": "sigmoid", "zero_bias": True}), TWO, EX4, EX4_LIST),
    *wrong("activation-derivative-at-a", (DEEP, {"at": (1,)}), (ONE, {"hidden": "softplus"}), BOOK, BLOG),
    *wrong("activation-derivative-at-a", (ONE, {"hidden": "silu", "n": 15}), (NG, {"hidden": "tanh"})),
    *wrong("activation-derivative-at-a", (DEEP, {"hidden": "elu"}), (OBJECTS, {"hidden": "gelu"})),
    *wrong(
        "wrong-activation-derivative/a(1-a)", ONE, (DEEP, {"at": (1,)}), (NG, {"hidden": "relu tanh", "at": (1,)})
    ),
    *wrong("wrong-activation-derivative/1-a^2", TWO, EX4, BLOG),
    *wrong("wrong-activation-derivative/sigmoid", (ONE, {"hidden": "tanh"}), (NG, {"hidden": "relu"})),
    *wrong("wrong-activation-derivative/sigmoid", (ONE, {"hidden": "silu"})),
    *wrong("wrong-activation-derivative/relu", (ONE, {"hidden": "leaky"}), (OBJECTS, {"hidden": "gelu"})),
    *wrong("wrong-activation-derivative/relu", (DEEP, {"hidden": "elu"}), (ONE, {"hidden": "tanh"})),
    *wrong("wrong-activation-derivative/tanh", (ONE, {"hidden": "sigmoid"}), (DEEP, {"hidden": "relu"})),
    # the output's
    *wrong("output-derivative-missing", MEAN_SQUARES, (MEAN_SQUARES, {"widths": (5, 1), "n": 6}), BOOK, BLOG),
    *wrong("output-derivative-missing", (DEEP, {"output": "tanh", "loss": "half"}), (ONE, SQUARE_SOFTMAX)),
    *wrong("output-derivative-missing", (NG_SOFTMAX, {"output": "sigmoid", "loss": "half", "l2": 0.1})),
    *wrong("softmax-diagonal", ONE, DEEP, NOTES, NG_SOFTMAX, (ONE, {"widths": (6, 4), "zero_bias": True})),
    *wrong("softmax-diagonal", (ONE, SQUARE_SOFTMAX), (OBJECTS, {**SQUARE_SOFTMAX, "n": 9})),
    *wrong("softmax-axis/gradient", ONE, DEEP, NOTES, NG_SOFTMAX, (ONE, {"widths": (6, 4)})),
    *wrong("softmax-axis/both", ONE, DEEP, NG_SOFTMAX, (ONE, {"widths": (6, 4), "n": 11})),
    # the matrix or layer is another
    *wrong("weight-transposed", (ONE, {"widths": (4, 3, 3)}), (DEEP, {"at": (1, 2)}), (TWO, {"at": (1,)})),
    *wrong("weight-transposed", (NG, {"at": (1,)}), (NOTES, {"widths": (6, 4, 4), "at": (1,)})),
    *wrong("weight-transposed", (OBJECTS, {"widths": (4, 7, 7, 3), "at": (1,)}), (DEEP, {"at": (2,), "l2": 0.1})),
    *wrong("wrong-layer-input/x", (DEEP, {"at": (1,)}), (DEEP, {"at": (2,), "hidden": "relu"})),
    *wrong(
        "wrong-layer-input/x", (ONE, {"widths": (5, 5, 3), "at": (1,)}), (NG, {"widths": (5, 5, 1), "at": (1,)})
    ),
    *wrong("wrong-layer-input/z", ONE, DEEP, NG, (TWO, {"at": (1,)}), (NG_SOFTMAX, {"hidden": "sigmoid"})),
    *wrong("wrong-layer-input/own output", (DEEP, {"at": (1,)}), (NOTES, {"widths": (6, 6, 3), "at": (0,)})),
    *wrong("wrong-layer-input/own output", (NG, {"at": (1,)}), (ONE, {"widths": (4, 3, 3), "at": (1,)})),
    *wrong("wrong-layer-input/own output", (BOOK, {"widths": (4, 4, 4), "at": (0,)})),
    *wrong("wrong-layer-input/one before", (DEEP, {"at": (2,)}), (TWO, {"at": (2,)})),
    *wrong("wrong-layer-derivative/before", (DEEP, {"at": (1, 2)}), (TWO, {"at": (1,)}), (EX4_LIST, {"at": (1,)})),
    *wrong("wrong-layer-derivative/after", (DEEP, {"at": (0, 1)}), (ONE, {"widths": (4, 3, 3)})),
    *wrong("wrong-layer-derivative/after", (NG, {"at": (0,)}), (BOOK, {"widths": (3, 4, 4)})),
    # dropout
    *wrong(
        "dropout-mask-missing", (ONE, {"keep_prob": 0.6}), (TWO, {"keep_prob": 0.7}), (OBJECTS, {"keep_prob": 0.6})
    ),
    *wrong("dropout-mask-missing", (DEEP, {"keep_prob": 0.7, "at": (1,)}), (NG, {"keep_prob": 0.8})),
    *wrong("dropout-mask-missing/scale kept", (ONE, {"keep_prob": 0.5}), (NG_SOFTMAX, {"keep_prob": 0.7})),
    *wrong(
        "dropout-scale-missing", (ONE, {"keep_prob": 0.6}), (DEEP, {"keep_prob": 0.8}), (NG, {"keep_prob": 0.7})
    ),
    *wrong("dropout-scale-missing", (TWO, {"keep_prob": 0.75, "at": (0,)}), (OBJECTS, {"keep_prob": 0.5})),
    # the bias
    *wrong("bias-not-summed", ONE, (DEEP, {"at": (1,)}), NG, (NOTES, {"at": (0,)}), (ONE, {"widths": (6, 4)})),
    *wrong("bias-not-summed/mean", ONE, DEEP, NG_SOFTMAX, OBJECTS, (ONE, {"hidden": "relu", "zero_bias": True})),
    *wrong("bias-not-summed/last sample", TWO, NG, BOOK, EX4_LIST),
    *wrong("bias-not-summed/first sample", ONE, (DEEP, {"at": (2,)})),
    # signs
    *wrong("sign-flipped", ONE, NG, EX4, NOTES, BLOG, BOOK, (ONE, {"widths": (6, 4)}), (OBJECTS, {"l2": 0.1})),
    *wrong("sign-flipped", (DEEP, {"at": (1,)}), (ONE, {"at": (1,)}), (ONE, {"hidden": "relu", "at": (0,)})),
    *wrong("sign-flipped/weights", (TWO, {"at": (0,)})),
    *wrong("sign-flipped/going back", ONE, (DEEP, {"at": (2,)})),
    # the order of updates, and state between calls
    *wrong("updated-too-early", ONE, (DEEP, {"at": (1, 2, 3)}), NG, NOTES, (ONE, {"hidden": "relu", "l2": 0.2})),
    *wrong("updated-too-early", OBJECTS, (TWO, {"at": (2,)}), EX4_LIST),
    *wrong("accumulated", ONE, OBJECTS, BOOK, EX4, (OBJECTS, {"at": (0,)})),
    *wrong("accumulated/copies", DEEP),
    *wrong("accumulated/biases", ONE, OBJECTS),
    *wrong("accumulated/weights", OBJECTS),
    *wrong("accumulated/one step made before", ONE),
    *wrong("params-changed", ONE, DEEP, BLOG, OBJECTS, (ONE, {"at": (1,)})),
    *wrong("params-changed/decay", ONE),
    *wrong(
        "not-deterministic/mask",
        (ONE, {"keep_prob": 0.7}),
        (DEEP, {"keep_prob": 0.8}),
        (OBJECTS, {"keep_prob": 0.6}),
    ),
    *wrong("not-deterministic/batch", (ONE, {"n": 16})),
    *wrong("not-deterministic/gradient's mask", (TWO, {"keep_prob": 0.7})),
]
