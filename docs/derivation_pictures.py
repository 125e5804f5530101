"""The pictures of docs/derivation.md: SVG on white, the same to the byte from the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import derivation_runs as runs
import matplotlib as mpl
import numpy as np
from figures import ROOT
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from nnbackprop.diagnostics.gradcheck.central_differences import STEP_LENGTHS

FOLDER = ROOT / "docs" / "figures"
BLUE, RED, GREY, GREEN = "#1f5fa8", "#c0392b", "#666666", "#2e8b57"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "derivation",
    "font.size": 11,
    "mathtext.fontset": "cm",
    "svg.fonttype": "path",
}
RULES = {
    "(P - T) / n": "(P - T) / n",
    "-T (1 - P) / n": "-T \\odot (1 - P) / n",
    "(P - T) P (1 - P) / n": "(P - T) \\odot P \\odot (1 - P) / n",
}
"""How each derivative of the output is printed."""


def draw(curves: Mapping[str, runs.Curves], errors: Mapping[str, np.ndarray]) -> None:
    """All four pictures."""
    FOLDER.mkdir(exist_ok=True)
    with mpl.rc_context(STYLE):
        save("derivation-net", net())
        save("derivation-shapes", shapes())
        save("derivation-softmax", softmax(curves))
        save("derivation-step", steps(errors))


def save(name: str, figure: Figure) -> None:
    """Write the picture without a date."""
    figure.savefig(FOLDER / f"{name}.svg", facecolor="white", bbox_inches="tight", metadata={"Date": None})


def canvas(width: float, height: float) -> tuple[Figure, Any]:
    """An empty sheet whose units are tenths of an inch or so, without axes."""
    figure = Figure(figsize=(width, height))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_xlim(0, 10 * width)
    ax.set_ylim(0, 10 * height)
    ax.axis("off")
    return figure, ax


AT = {"x_1": (8, 32), "x_2": (8, 10), "h_1": (40, 32), "h_2": (40, 10), "y": (70, 21)}
LINES = {  # weight: from, to, how far along its number stands
    "w_{11}": ("x_1", "h_1", 0.5),
    "w_{12}": ("x_1", "h_2", 0.3),
    "w_{21}": ("x_2", "h_1", 0.3),
    "w_{22}": ("x_2", "h_2", 0.5),
    "v_1": ("h_1", "y", 0.5),
    "v_2": ("h_2", "y", 0.5),
}
RADIUS = 3.6


def net() -> Figure:
    """The 2-2-1 network: numbers going forward in blue, errors going back in red, for the first person."""
    people = runs.net()
    weights, values, errors = runs.read(people.params), people.forward(0), people.errors(0)
    figure, ax = canvas(8.6, 4.0)
    for name, (start, end, share) in LINES.items():
        line(ax, AT[start], AT[end], f"${name} = {weights[name]:.3f}$", share)
    for name, (x, y) in AT.items():
        ax.add_patch(Circle((x, y), RADIUS, facecolor="white", edgecolor="black", linewidth=1.3, zorder=3))
        ax.text(x, y, f"${name}$", ha="center", va="center", fontsize=15, zorder=4)
        form = ".0f" if name.startswith("x") else ".3f"
        ax.text(x, y + 4.6, f"${values[name]:{form}}$", ha="center", va="bottom", color=BLUE)
    for name, at in (("\\delta_1", "h_1"), ("\\delta_2", "h_2"), ("\\delta", "y")):
        x, y = AT[at]
        ax.text(x, y - 4.9, f"${name} = {errors[name]:.4f}$", ha="center", va="top", color=RED)
    output(ax, values)
    return figure


def line(ax: Any, start: tuple[float, float], end: tuple[float, float], words: str, share: float) -> None:
    """A line between two circles: an arrow forward above, a red one back below, and its weight upon it."""
    a, b = np.array(start, float), np.array(end, float)
    along = (b - a) / np.linalg.norm(b - a)
    aside = 0.5 * np.array([-along[1], along[0]])
    a, b = a + along * (RADIUS + 0.4), b - along * (RADIUS + 0.4)
    for tail, head, colour, shift in ((a, b, BLUE, aside), (b, a, RED, -aside)):
        if colour == RED and start[0] < AT["h_1"][0]:
            continue  # no error is sent to the inputs
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", head + shift, tail + shift, arrowprops=arrow)
    x, y = a + (b - a) * share
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    ax.text(x, y, words, ha="center", va="center", fontsize=10, bbox=box, zorder=5)


def output(ax: Any, values: Mapping[str, float]) -> None:
    """The target and the loss beside the output."""
    x, y = AT["y"]
    J = (values["y"] - values["t"]) ** 2
    ax.text(x + 5, y + 1.1, f"$t = {values['t']:.0f}$", ha="left", va="bottom")
    ax.text(x + 5, y - 1.1, f"$J = {J:.4f}$", ha="left", va="top")


SIZES = {"n": 5.0, "d": 8.0, "k": 3.6}
WEIGHTED_LAYERS = (  # result, left factor, right factor: each with its letters and its rows and columns
    (("Z", "nk"), ("X", "nd"), ("W", "dk"), "forward", BLUE),
    (("dW", "dk"), ("X^\\top", "dn"), ("dZ", "nk"), "back, to the weights", RED),
    (("dX", "nd"), ("dZ", "nk"), ("W^\\top", "kd"), "back, to the layer before", RED),
)


def shapes() -> Figure:
    """The product forward and the two back, each array a box of its rows and columns."""
    figure, ax = canvas(10, 1.65)
    for i, (result, left, right, title, colour) in enumerate(WEIGHTED_LAYERS):
        x = 2.5 + 33.5 * i
        ax.text(x, 16, title, fontsize=12, color=colour, va="top", fontweight="bold")
        for (name, size), sign in ((result, "="), (left, ""), (right, None)):
            x = box(ax, x, name, size, colour)
            if sign is not None:
                ax.text(x + 1.6, 6.5, f"${sign or chr(92) + 'cdot'}$", ha="center", va="center", fontsize=15)
            x += 4.8
    return figure


def box(ax: Any, x: float, name: str, size: str, colour: str) -> float:
    """A box with its rows beside and its columns above; returns where it ends."""
    rows, columns = size[0], size[1]
    height, width = SIZES[rows], SIZES[columns]
    y = 6.5 - height / 2
    ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, alpha=0.15))
    ax.add_patch(Rectangle((x, y), width, height, facecolor="none", edgecolor=colour, linewidth=1.3))
    ax.text(x + width / 2, 6.5, f"${name}$", ha="center", va="center", fontsize=14)
    ax.text(x - 0.3, 6.5, f"${rows}$", ha="right", va="center", color=GREY)
    ax.text(x + width / 2, y + height + 0.4, f"${columns}$", ha="center", va="bottom", color=GREY)
    return x + width


def softmax(curves: Mapping[str, runs.Curves]) -> Figure:
    """Test accuracy and training loss of the three derivatives by epoch."""
    figure = Figure(figsize=(9.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, found), colour, style in zip(curves.items(), (GREEN, RED, GREY), ("-", "-", "--"), strict=True):
        form = {"color": colour, "linestyle": style, "linewidth": 2, "label": f"$dZ = {RULES[name]}$"}
        left.plot([100 * a for a in found["accuracy"]], **form)
        right.plot(found["loss"], **form)
    left.set(xlabel="epoch", ylabel="test accuracy, %", ylim=(0, 100))
    right.set(xlabel="epoch", ylabel="training loss", yscale="log")
    ticks = [0.1, 0.2, 0.5, 1, 2, 5]
    right.set_yticks(ticks, map(str, ticks))
    right.set_yticks([], minor=True)
    right.set_ylim(0.1, 5)
    for ax in (left, right):
        ax.set_xticks(range(0, runs.EPOCHS + 1, 3))
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure


def steps(errors: Mapping[str, np.ndarray]) -> Figure:
    """Error of a measured slope against the step, with the step of the checks marked."""
    figure = Figure(figsize=(7.4, 4), layout="constrained")
    ax = figure.subplots()
    for (name, row), colour in zip(errors.items(), (GREY, BLUE, RED), strict=True):
        ax.loglog(runs.STEPS, row, color=colour, linewidth=1.8, label=name)
    ax.axvline(STEP_LENGTHS[0], color="black", linestyle="--", linewidth=1)
    ax.text(
        STEP_LENGTHS[0] * 1.2,
        0.97,
        "step of the checks",
        transform=ax.get_xaxis_transform(),
        va="top",
        fontsize=10,
    )
    ax.set(xlabel="step, as a share of the norm of the weights", ylabel="relative error of the slope")
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="lower left")
    return figure
