"""Draw the pictures of docs/derivation.md; write the numbers of it and of derivation-layers.md, in each language.

python docs/derivation_figures.py    half a minute on one core
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
sys.path.insert(0, str(Path(__file__).parent))
import derivation_layers as layers
import derivation_pictures as pictures
import derivation_runs as runs
from figures import ROOT, machine, table, write

from nnbackprop.diagnostics.gradcheck.central_differences import STEP_LENGTHS

DOCS = ROOT / "docs"
DOCUMENTS = {"en": DOCS / "derivation.md", "zh": DOCS / "derivation.zh.md"}
LAYERS = DOCS / "derivation-layers.md", DOCS / "derivation-layers.zh.md"
WORDS = {
    "en": {
        "made": "Made by `python docs/derivation_figures.py` on {machine}, {date}.",
        "hand": "by hand",
        "measured": "measured",
        "person": "person",
        "mean": "mean of the four",
        "matrix": "by matrices",
        "epochs": "test accuracy after {} epochs",
        "cosine": "cosine at the start",
        "later": "after {} epochs",
        "largest": "largest weight",
        "sent": "sent back over a line",
        "before": "first weights",
        "after": "after one epoch",
        "method": "difference",
        "best": "best step",
        "there": "error there",
        "chosen": "error at {}",
        "one-sided": "one-sided",
        "central": "central",
        "combined": "two central ones combined",
    },
    "zh": {
        "made": "由 `python docs/derivation_figures.py` 生成：{machine}，{date}。",
        "hand": "手算",
        "measured": "测得",
        "person": "人",
        "mean": "四人的平均",
        "matrix": "矩阵算法",
        "epochs": "{} 轮后的测试准确率",
        "cosine": "开始时的余弦",
        "later": "{} 轮后的余弦",
        "largest": "最大的权重",
        "sent": "沿一条连线送回的量",
        "before": "初始权重",
        "after": "一轮之后",
        "method": "差分",
        "best": "最佳步长",
        "there": "该处误差",
        "chosen": "步长 {} 处的误差",
        "one-sided": "单侧",
        "central": "中心",
        "combined": "两个中心差分合成",
    },
}
SUMS = {  # letter: its formula, of letters that stand before it
    "s_1": "w_{11} x_1 + w_{21} x_2 + b_1",
    "s_2": "w_{12} x_1 + w_{22} x_2 + b_2",
    "h_1": "\\sigma(s_1)",
    "h_2": "\\sigma(s_2)",
    "s": "v_1 h_1 + v_2 h_2 + c",
    "y": "\\sigma(s)",
}
ERRORS = {
    "\\delta": "2 (y - t) y (1 - y)",
    "\\delta_1": "\\delta v_1 h_1 (1 - h_1)",
    "\\delta_2": "\\delta v_2 h_2 (1 - h_2)",
}
DERIVATIVES = {
    "v_1": "\\delta h_1",
    "v_2": "\\delta h_2",
    "c": "\\delta",
    "w_{11}": "\\delta_1 x_1",
    "w_{21}": "\\delta_1 x_2",
    "w_{12}": "\\delta_2 x_1",
    "w_{22}": "\\delta_2 x_2",
    "b_1": "\\delta_1",
    "b_2": "\\delta_2",
}


def formula(tex: str) -> str:
    """Mathematics in a line."""
    return f"$`{tex}`$"


def number(x: float) -> str:
    """Four places behind the point, no minus before zero."""
    return f"{x:.4f}".replace("-0.0000", "0.0000")


def derivative(letter: str) -> str:
    """The partial derivative by a parameter."""
    return formula(f"\\partial J / \\partial {letter}")


def net(words: dict[str, str]) -> str:
    """One person through the 2-2-1 network and back: weights, forward, errors, the nine derivatives."""
    net, one = runs.net(), slice(0, 1)
    weights, forward, errors = runs.read(net.params), net.forward(0), net.errors(0)
    J = (forward["y"] - forward["t"]) ** 2
    hand, measured = net.gradients(one), net.measured(one)
    return "\n\n".join(
        (
            table([formula(name) for name in weights], [[number(w) for w in weights.values()]]),
            table(
                ["", "", ""],
                [
                    *([formula(a), formula(f), number(forward[a])] for a, f in SUMS.items()),
                    [formula("J"), formula("(y - t)^2"), number(J)],
                    *([formula(a), formula(f), number(errors[a])] for a, f in ERRORS.items()),
                ],
            ),
            table(
                ["", "", words["hand"], words["measured"]],
                [
                    [derivative(a), formula(f), number(hand[a]), number(measured[a])]
                    for a, f in DERIVATIVES.items()
                ],
            ),
        )
    )


def people(words: dict[str, str]) -> str:
    """The nine derivatives of each of the four, their mean, and what the matrices give."""
    net = runs.net()
    each = [net.gradients(slice(i, i + 1)) for i in range(4)]
    together = net.gradients(slice(None))
    head = ["", *(f"{words['person']} {i + 1}" for i in range(4)), words["mean"], words["matrix"]]
    rows = [
        [derivative(a), *(number(g[a]) for g in each), number(sum(g[a] for g in each) / 4), number(together[a])]
        for a in DERIVATIVES
    ]
    return table(head, rows)


def softmax(words: dict[str, str], curves: dict[str, runs.Curves], cosines: list[dict[str, float]]) -> str:
    """What three derivatives reach, and how the gradients lie."""
    after, later = (words[key].format(runs.EPOCHS) for key in ("epochs", "later"))
    head = [formula("dZ"), after, words["cosine"], later, words["largest"]]
    rows = [
        [
            formula(pictures.RULES[name]),
            f"{found['accuracy'][-1]:.1%}",
            f"{cosines[0][name]:.2f}",
            f"{cosines[-1][name]:.2f}",
            f"{found['largest'][-1]:.1f}",
        ]
        for name, found in curves.items()
    ]
    return table(head, rows)


def split(words: dict[str, str], found: dict[str, tuple[float, float]]) -> str:
    """How near the pictures of shares come to the chain rule."""
    rows = [[formula(f"{name} \\, e_j"), *(f"{value:.2f}" for value in pair)] for name, pair in found.items()]
    return table([words["sent"], words["before"], words["after"]], rows)


def step(words: dict[str, str], errors: dict[str, np.ndarray]) -> str:
    """The best step of each difference, and the error at the step the checks take."""
    chosen = int(np.argmin(np.abs(np.log(runs.STEPS / STEP_LENGTHS[0]))))
    rows = [
        [words[key], power(runs.STEPS[np.argmin(row)]), power(float(row.min())), power(row[chosen])]
        for key, row in errors.items()
    ]
    return table(
        [words["method"], words["best"], words["there"], words["chosen"].format(power(STEP_LENGTHS[0]))], rows
    )


def power(x: float) -> str:
    """A number of few digits with its power of ten."""
    digits, exponent = f"{x:.0e}".split("e")
    times = "" if digits == "1" else f"{digits} \\cdot "
    return formula(f"{times}10^{{{int(exponent)}}}")


def main() -> None:
    """Run, draw, write."""
    curves, cosines = runs.softmax_runs()
    errors, found = runs.step_errors(), runs.split_runs()
    pictures.draw(curves, errors)
    for language, page in DOCUMENTS.items():
        words = WORDS[language]
        made = words["made"].format(machine=machine(), date=datetime.now(UTC).date().isoformat())
        blocks = {
            "derivation-net": net(words),
            "derivation-people": people(words),
            "derivation-softmax": softmax(words, curves, cosines),
            "derivation-split": split(words, found),
            "derivation-step": step(words, errors),
        }
        write({name: f"{text}\n\n{made}\n" for name, text in blocks.items()}, (page,))
    write({name: f"{text}\n" for name, text in layers.blocks().items()}, LAYERS)


if __name__ == "__main__":
    main()
