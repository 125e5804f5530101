"""The networks: right ones, and those with a mistake."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.own_code.plan import Plan

BINARY: dict[str, Any] = {"output": "sigmoid", "loss": "binary"}
SQUARES: dict[str, Any] = {"output": "identity", "loss": "half"}
SIGMOIDS: dict[str, Any] = {"output": "sigmoid", "loss": "mse"}
SQUARE_SOFTMAX: dict[str, Any] = {"output": "softmax", "loss": "mse"}

ONE = Plan()
DEEP = Plan(widths=(5, 5, 5, 5, 3), hidden="tanh", n=9, form="list", bias="(1,k)")
TWO = Plan(widths=(4, 6, 6, 3), hidden="sigmoid", n=11, gain=2.0)
MEAN_SQUARES = Plan(widths=(4, 7, 5), hidden="sigmoid", n=12, **SIGMOIDS)
NG = Plan("columns", (4, 5, 5, 1), "relu", n=10, **BINARY)
NG_SOFTMAX = Plan("columns", (5, 8, 4), "tanh", n=7)
EX4 = Plan("theta", (5, 6, 4), "sigmoid", n=9, l2=1.0, l2_averaged=True, bias="first column", **BINARY)
EX4_LIST = Plan("theta", (4, 5, 5, 3), "sigmoid", n=6, form="list", bias="first column", gain=2.0, **BINARY)
OBJECTS = Plan("layers", (6, 8, 5, 4), "relu", n=13, form="list")
NOTES = Plan("notes", (5, 10, 3), "relu", n=14, l2=0.2)
BOOK = Plan("book", (4, 6, 3), "sigmoid", "sigmoid", "half", 6, form="weights-first", bias="(k,1)")
BLOG = Plan("blog", (3, 4, 1), "sigmoid", "sigmoid", "half", 5, mean=False, form="list", bias="none")

RIGHT = [
    # no hidden layer
    Plan(widths=(6, 4)),
    Plan(widths=(5, 3), zero_bias=True, l2=0.1),
    Plan(widths=(7, 1), n=15, form="list", **BINARY),
    Plan(widths=(4, 3), n=10, **SQUARES),
    Plan(widths=(4, 3), **SIGMOIDS),
    Plan("columns", (5, 1), n=20, **BINARY),
    Plan(widths=(4, 5), output="tanh", loss="half", bias="none"),
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
    Plan(widths=(4, 5, 6, 3), hidden="relu tanh", n=20),
    Plan(widths=(3, 12, 7, 4), hidden="gelu", n=9, form="names", l2=0.05),
    Plan(widths=(6, 6, 6, 6), hidden="silu", n=5, zero_bias=True, form="list"),
    Plan(widths=(4, 5, 6, 7, 3), hidden="elu", n=7, **SQUARES),
    Plan(widths=(4, 6, 5, 6, 3), hidden="relu", n=16, bias="(1,k)"),
    Plan(widths=(5, 4, 4, 4, 4, 3), hidden="tanh", n=6, form="weights-first"),
    Plan(widths=(3, 6, 6, 6, 6, 5), hidden="leaky softplus", n=12, l2=0.1, l2_averaged=True),
    Plan(widths=(4, 6, 6, 6, 6, 2), hidden="sigmoid", n=7, zero_bias=True),
    DEEP,
    TWO,
    # every loss
    MEAN_SQUARES,
    Plan(widths=(3, 9, 2), hidden="softplus", output="identity", loss="mse", n=5, form="list"),
    Plan(widths=(5, 6, 3), hidden="silu", output="tanh", loss="mse", bias="(1,k)"),
    Plan(widths=(5, 6, 4), hidden="relu", n=10, **SQUARE_SOFTMAX),
    Plan(widths=(5, 6, 1), hidden="tanh", n=18, bias="none", **SQUARES),
    Plan(widths=(4, 6, 5), hidden="leaky", n=9, l2=0.5, **BINARY),
    Plan(widths=(4, 8, 3), mean=False, n=12),
    Plan(widths=(4, 8, 5), mean=False, hidden="sigmoid", **SQUARES),
    Plan(widths=(4, 5, 2), mean=False, hidden="gelu", form="list", **BINARY),
    # penalties, dropout, size
    Plan(widths=(4, 7, 3), l2=0.3, l2_biases=True, n=10),
    Plan(widths=(4, 7, 3), l2=0.8, l2_averaged=True, l2_biases=True, hidden="relu", n=10),
    Plan(widths=(4, 10, 3), keep=0.5, hidden="relu"),
    Plan(widths=(4, 9, 9, 3), keep=0.8, l2=0.1, n=13, form="list"),
    replace(ONE, gain=0.01, zero_bias=True),
    replace(ONE, gain=5.0),
    replace(TWO, gain=0.1),
    Plan(widths=(4, 6, 3), hidden="relu", gain=6.0, **SQUARES),
    # samples in columns
    NG,
    NG_SOFTMAX,
    replace(NG, l2=0.7, l2_averaged=True, zero_bias=True),
    replace(NG, keep=0.7, widths=(5, 8, 8, 1)),
    replace(NG_SOFTMAX, hidden="sigmoid", bias="none", form="list"),
    Plan("columns", (4, 6, 5, 6, 4, 3), "relu", n=15),
    Plan("columns", (3, 7, 2), "elu", n=6, **SQUARES),
    # Theta
    EX4,
    EX4_LIST,
    replace(EX4, widths=(3, 4), l2=2.0),
    replace(EX4, widths=(3, 4, 4, 4, 3), l2=0.5, zero_bias=True),
    # layer objects that hand out the same arrays at every call
    OBJECTS,
    replace(OBJECTS, l2=0.1),  # one z of its ReLUs is 2e-5: a wide step runs over the kink
    replace(OBJECTS, keep=0.6, l2=0.1, hidden="gelu"),
    replace(OBJECTS, widths=(4, 6, 2), hidden="tanh", bias="none", form="dict", **SQUARES),
    # scripts
    NOTES,
    replace(NOTES, l2=0.0, zero_bias=True),
    BOOK,
    replace(BOOK, widths=(3, 5, 4, 2), mean=False),
    BLOG,
    Plan("xor", (2, 5, 1), "relu", n=4, zero_bias=True, **BINARY),
]


def planted(bug: str, *cases: tuple[Plan, dict[str, Any]] | Plan) -> list[Plan]:
    """The bug in each of the networks, which may be changed, or have it in some layers only."""
    pairs = [case if isinstance(case, tuple) else (case, {}) for case in cases]
    return [replace(plan, bug=bug, **changes) for plan, changes in pairs]


WRONG = [
    # the mean over the batch
    *planted("missing-batch-mean", ONE, (ONE, {"widths": (6, 4)}), DEEP, (ONE, {"l2": 0.2, "n": 10}), NG, NOTES),
    *planted("missing-batch-mean", (EX4, {"l2": 0.0, "zero_bias": True}), EX4, BOOK, OBJECTS),
    *planted(
        "missing-batch-mean", (MEAN_SQUARES, {"n": 9}), (ONE, {"n": 20, "hidden": "relu", "zero_bias": True})
    ),
    *planted("missing-batch-mean/biases", NG, (NG_SOFTMAX, {"l2": 0.2})),
    *planted("missing-batch-mean/weights", NG_SOFTMAX),
    *planted("missing-batch-mean", (NG, {"at": (2,)}), (NG, {"at": (0,)})),
    *planted("mean-twice", ONE, DEEP, (ONE, {"l2": 0.3, "hidden": "relu"}), NG, EX4, (MEAN_SQUARES, {"n": 7})),
    *planted("mean-twice/going back", NG),
    *planted("mean-twice/every layer", OBJECTS, (OBJECTS, {"widths": (5, 7, 3), "hidden": "tanh", "l2": 0.1})),
    # the factor of the squared error's derivative
    *planted("mse-factor/2 missing", MEAN_SQUARES, (MEAN_SQUARES, {"widths": (4, 3), "output": "identity"})),
    *planted("mse-factor/2 missing", (MEAN_SQUARES, {"l2": 0.2, "hidden": "relu", "output": "tanh"})),
    *planted("mse-factor/2 too many", (DEEP, SQUARES), (NG_SOFTMAX, SQUARES), (ONE, {**SQUARES, "l2": 0.3})),
    *planted("mse-factor/k missing", MEAN_SQUARES, (MEAN_SQUARES, {"widths": (5, 6, 6, 3), "output": "identity"})),
    # L2
    *planted(
        "l2-missing", (ONE, {"l2": 0.5}), (DEEP, {"l2": 0.2}), EX4, NOTES, (NG, {"l2": 0.7, "l2_averaged": True})
    ),
    *planted("l2-missing", (DEEP, {"l2": 0.3, "at": (0,)}), (ONE, {"l2": 0.4, "at": (1,), "zero_bias": True})),
    *planted("l2-missing", (NOTES, {"at": (1,)}), (EX4, {"at": (0,)}), (OBJECTS, {"l2": 0.2, "at": (2,)})),
    *planted("l2-missing", (ONE, {"widths": (6, 4), "l2": 0.3, "bias": "none"})),
    *planted("l2-on-biases", (ONE, {"l2": 0.5}), (DEEP, {"l2": 0.2}), EX4, NOTES, (OBJECTS, {"l2": 0.3})),
    *planted("l2-on-biases", (NG, {"l2": 2.0, "l2_averaged": True}), (ONE, {"l2": 0.6, "at": (0,)})),
    *planted("l2-on-biases", (ONE, {"l2": 0.5, "zero_bias": True, "hidden": "relu"})),
    *planted(
        "l2-not-averaged", EX4, (NG, {"l2": 0.5, "l2_averaged": True}), (DEEP, {"l2": 0.3, "l2_averaged": True})
    ),
    *planted("l2-not-averaged", (ONE, {"widths": (5, 3), "l2": 0.6, "l2_averaged": True})),
    # the activation's derivative
    *planted("activation-derivative-missing", ONE, DEEP, TWO, NG, EX4, NOTES, BOOK, BLOG, OBJECTS),
    *planted("activation-derivative-missing", (ONE, {"hidden": "gelu"}), (ONE, {"hidden": "softplus", "l2": 0.1})),
    *planted("activation-derivative-missing", (DEEP, {"at": (0,)}), (DEEP, {"at": (2,)}), (NG, {"at": (1,)})),
    *planted(
        "activation-derivative-at-a", ONE, (ONE, {"hidden": "sigmoid", "zero_bias": True}), TWO, EX4, EX4_LIST
    ),
    *planted("activation-derivative-at-a", (DEEP, {"at": (1,)}), (ONE, {"hidden": "softplus"}), BOOK, BLOG),
    *planted("activation-derivative-at-a", (ONE, {"hidden": "silu", "n": 15}), (NG, {"hidden": "tanh"})),
    *planted("activation-derivative-at-a", (DEEP, {"hidden": "elu"}), (OBJECTS, {"hidden": "gelu"})),
    *planted(
        "wrong-activation-derivative/a(1-a)", ONE, (DEEP, {"at": (1,)}), (NG, {"hidden": "relu tanh", "at": (1,)})
    ),
    *planted("wrong-activation-derivative/1-a^2", TWO, EX4, BLOG),
    *planted("wrong-activation-derivative/sigmoid", (ONE, {"hidden": "tanh"}), (NG, {"hidden": "relu"})),
    *planted("wrong-activation-derivative/sigmoid", (ONE, {"hidden": "silu"})),
    *planted("wrong-activation-derivative/relu", (ONE, {"hidden": "leaky"}), (OBJECTS, {"hidden": "gelu"})),
    *planted("wrong-activation-derivative/relu", (DEEP, {"hidden": "elu"}), (ONE, {"hidden": "tanh"})),
    *planted("wrong-activation-derivative/tanh", (ONE, {"hidden": "sigmoid"}), (DEEP, {"hidden": "relu"})),
    # the output's
    *planted("output-derivative-missing", MEAN_SQUARES, (MEAN_SQUARES, {"widths": (5, 1), "n": 6}), BOOK, BLOG),
    *planted("output-derivative-missing", (DEEP, {"output": "tanh", "loss": "half"}), (ONE, SQUARE_SOFTMAX)),
    *planted("output-derivative-missing", (NG_SOFTMAX, {"output": "sigmoid", "loss": "half", "l2": 0.1})),
    *planted("softmax-diagonal", ONE, DEEP, NOTES, NG_SOFTMAX, (ONE, {"widths": (6, 4), "zero_bias": True})),
    *planted("softmax-diagonal", (ONE, SQUARE_SOFTMAX), (OBJECTS, {**SQUARE_SOFTMAX, "n": 9})),
    *planted("softmax-axis/gradient", ONE, DEEP, NOTES, NG_SOFTMAX, (ONE, {"widths": (6, 4)})),
    *planted("softmax-axis/both", ONE, DEEP, NG_SOFTMAX, (ONE, {"widths": (6, 4), "n": 11})),
    # matrices and layers taken for others
    *planted("weight-transposed", (ONE, {"widths": (4, 3, 3)}), (DEEP, {"at": (1, 2)}), (TWO, {"at": (1,)})),
    *planted("weight-transposed", (NG, {"at": (1,)}), (NOTES, {"widths": (6, 4, 4), "at": (1,)})),
    *planted(
        "weight-transposed", (OBJECTS, {"widths": (4, 7, 7, 3), "at": (1,)}), (DEEP, {"at": (2,), "l2": 0.1})
    ),
    *planted("wrong-layer-input/x", (DEEP, {"at": (1,)}), (DEEP, {"at": (2,), "hidden": "relu"})),
    *planted(
        "wrong-layer-input/x", (ONE, {"widths": (5, 5, 3), "at": (1,)}), (NG, {"widths": (5, 5, 1), "at": (1,)})
    ),
    *planted("wrong-layer-input/z", ONE, DEEP, NG, (TWO, {"at": (1,)}), (NG_SOFTMAX, {"hidden": "sigmoid"})),
    *planted("wrong-layer-input/own output", (DEEP, {"at": (1,)}), (NOTES, {"widths": (6, 6, 3), "at": (0,)})),
    *planted("wrong-layer-input/own output", (NG, {"at": (1,)}), (ONE, {"widths": (4, 3, 3), "at": (1,)})),
    *planted("wrong-layer-input/own output", (BOOK, {"widths": (4, 4, 4), "at": (0,)})),
    *planted("wrong-layer-input/one before", (DEEP, {"at": (2,)}), (TWO, {"at": (2,)})),
    *planted(
        "wrong-layer-derivative/before", (DEEP, {"at": (1, 2)}), (TWO, {"at": (1,)}), (EX4_LIST, {"at": (1,)})
    ),
    *planted("wrong-layer-derivative/after", (DEEP, {"at": (0, 1)}), (ONE, {"widths": (4, 3, 3)})),
    *planted("wrong-layer-derivative/after", (NG, {"at": (0,)}), (BOOK, {"widths": (3, 4, 4)})),
    # dropout
    *planted("dropout-mask-missing", (ONE, {"keep": 0.6}), (TWO, {"keep": 0.7}), (OBJECTS, {"keep": 0.6})),
    *planted("dropout-mask-missing", (DEEP, {"keep": 0.7, "at": (1,)}), (NG, {"keep": 0.8})),
    *planted("dropout-mask-missing/scale kept", (ONE, {"keep": 0.5}), (NG_SOFTMAX, {"keep": 0.7})),
    *planted("dropout-scale-missing", (ONE, {"keep": 0.6}), (DEEP, {"keep": 0.8}), (NG, {"keep": 0.7})),
    *planted("dropout-scale-missing", (TWO, {"keep": 0.75, "at": (0,)}), (OBJECTS, {"keep": 0.5})),
    # the bias
    *planted("bias-not-summed", ONE, (DEEP, {"at": (1,)}), NG, (NOTES, {"at": (0,)}), (ONE, {"widths": (6, 4)})),
    *planted("bias-not-summed/mean", ONE, DEEP, NG_SOFTMAX, OBJECTS, (ONE, {"hidden": "relu", "zero_bias": True})),
    *planted("bias-not-summed/last sample", TWO, NG, BOOK, EX4_LIST),
    *planted("bias-not-summed/first sample", ONE, (DEEP, {"at": (2,)})),
    # signs
    *planted("sign-flipped", ONE, NG, EX4, NOTES, BLOG, BOOK, (ONE, {"widths": (6, 4)}), (OBJECTS, {"l2": 0.1})),
    *planted("sign-flipped", (DEEP, {"at": (1,)}), (ONE, {"at": (1,)}), (ONE, {"hidden": "relu", "at": (0,)})),
    *planted("sign-flipped/weights", (TWO, {"at": (0,)})),
    *planted("sign-flipped/going back", ONE, (DEEP, {"at": (2,)})),
    # the order of things, and what is kept
    *planted("updated-too-early", ONE, (DEEP, {"at": (1, 2, 3)}), NG, NOTES, (ONE, {"hidden": "relu", "l2": 0.2})),
    *planted("updated-too-early", OBJECTS, (TWO, {"at": (2,)}), EX4_LIST),
    *planted("accumulated", ONE, OBJECTS, BOOK, EX4, (OBJECTS, {"at": (0,)})),
    *planted("accumulated/copies", DEEP),
    *planted("accumulated/biases", ONE, OBJECTS),
    *planted("accumulated/weights", OBJECTS),
    *planted("accumulated/one step made before", ONE),
    *planted("params-changed", ONE, DEEP, BLOG, OBJECTS, (ONE, {"at": (1,)})),
    *planted("params-changed/decay", ONE),
    *planted("not-deterministic/mask", (ONE, {"keep": 0.7}), (DEEP, {"keep": 0.8}), (OBJECTS, {"keep": 0.6})),
    *planted("not-deterministic/batch", (ONE, {"n": 16})),
    *planted("not-deterministic/gradient's mask", (TWO, {"keep": 0.7})),
]
