"""Step through in Chromium: every number shown is plain NumPy's, and the page's mathematics is the package's."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from nnbackprop.lab.breaking import PLANTS
from nnbackprop.lab.messages import Step, encode
from nnbackprop.lab.small_networks import ARCHITECTURES
from nnbackprop.lab.stepping import step

NAMES = ("dense1.W", "dense1.b", "dense2.W", "dense2.b")
COMPUTE = """async ({layers, X, T, loss, lr, mistake}) => {
    const {step} = await import('/static/js/network.js');
    const {rulesWith} = await import('/static/js/mistakes.js');
    const {J, grads, next} = step(layers, X, T, {loss, lr, rules: rulesWith(mistake)});
    return {J, grads: grads.flatMap(({dW, db}) => [dW, db]), next: next.flatMap(({W, b}) => [W, b])};
}"""
POSSIBLE = "async ([loss, a, n]) => (await import('/static/js/mistakes.js')).possible(loss, a, n)"


def answer_of(request: Step) -> dict[str, Any]:
    """What the server answers, as the page reads it."""
    return json.loads(encode(step(request)))


def one_hot(targets: list[Any], outputs: int) -> list[list[float]]:
    return [t if isinstance(t, list) else np.eye(outputs)[t].tolist() for t in targets]


def shown(page: Any, id: str) -> float:
    """A number of the picture, by its id, with all its digits."""
    return float(page.get_attribute(f'.diagram [data-id="{id}"]', "data-value"))


def plain_numpy(answer: dict[str, Any]) -> dict[str, np.ndarray]:
    """All numbers of a step of one sample: arrays by the heads of the page's ids."""
    W1, b1, W2, b2 = (np.array(answer["params"][name]) for name in NAMES)
    x, t = np.array(answer["x"][0]), np.array(one_hot(answer["targets"], len(b2))[0], float)
    z1 = x @ W1 + b1
    a1 = 1 / (1 + np.exp(-z1))
    z2 = a1 @ W2 + b2
    if answer["loss"] == "softmax-cross-entropy":
        p = np.exp(z2) / np.exp(z2).sum()
        found = {"p": p, "J": -(t * np.log(p)).sum(), "dz2": p - t}
    else:
        y = 1 / (1 + np.exp(-z2))
        found = {"a2": y, "J": ((y - t) ** 2).sum(), "dJ": 2 * (y - t), "dz2": 2 * (y - t) * y * (1 - y)}
    found |= {"x": x, "t": t, "w1": W1, "b1": b1, "w2": W2, "b2": b2, "z1": z1, "a1": a1, "z2": z2}
    found["da1"] = W2 @ found["dz2"]
    found["dz1"] = found["da1"] * a1 * (1 - a1)
    for layer, source in (("1", x), ("2", a1)):
        found["db" + layer] = found["dz" + layer]
        found["dw" + layer] = np.outer(source, found["dz" + layer])
        for letter in "wb":
            found[f"n{letter}{layer}"] = found[letter + layer] - answer["lr"] * found[f"d{letter}{layer}"]
    return {head: np.asarray(array) for head, array in found.items()}


@pytest.mark.parametrize("name", ["2-2-1", "16-3-10"])
def test_every_number_shown_is_numpys(window: Any, name: str) -> None:
    page = window.open(f"step?net={name}&line=0")
    page.wait_for_selector(".diagram")
    expected, seen = plain_numpy(answer_of(Step(name, samples=(0,)))), {}
    for _ in range(40):  # line after line, to the last
        numbers = page.eval_on_selector_all(
            ".diagram .number[data-value]",
            "all => all.map(g => [g.dataset.id, g.dataset.value, g.querySelector('.value').textContent])",
        )
        seen |= {id: (float(value), float(text.replace("−", "-"))) for id, value, text in numbers}
        if page.evaluate(
            "() => { const bar = document.querySelector('.progress-bar'); return bar.value === bar.max; }"
        ):
            break
        page.click("[data-do=next]")
    for id, (value, rounded) in seen.items():
        head, *place = id.split(".")
        right = float(expected[head][tuple(map(int, place))])
        assert value == pytest.approx(right, rel=1e-12, abs=1e-14), id
        assert abs(rounded - right) <= max(0.05 * abs(right), 0.0051), id
    counted = {head: sum(id.split(".")[0] == head for id in seen) for head in expected}
    assert counted == {head: array.size for head, array in expected.items()}


def test_the_pages_mathematics_is_the_packages(window: Any) -> None:
    page = window.open("step")
    assert set(page.evaluate("async () => Object.keys((await import('/static/js/mistakes.js')).MISTAKES)")) == set(
        PLANTS
    )
    for name in ARCHITECTURES:
        for activation in ("sigmoid", "tanh", "relu"):
            request: dict[str, Any] = {
                "network": name,
                "activation": activation,
                "samples": (0, 1, 2, 3),
                "lr": 0.05,
            }
            loss = answer_of(Step(**request))["loss"]
            for mistake in (None, *page.evaluate(POSSIBLE, [loss, activation, 4])):
                compare(page, answer_of(Step(**request, mistake=mistake)), mistake)


def compare(page: Any, answer: dict[str, Any], mistake: str | None) -> None:
    """The page's step from the server's parameters, with the server's."""
    params, kinds = answer["params"], (answer["activation"], answer["output_activation"])
    layers = [
        {"W": params[f"dense{k + 1}.W"], "b": params[f"dense{k + 1}.b"], "activation": kind}
        for k, kind in enumerate(kinds)
    ]
    T = one_hot(answer["targets"], len(params["dense2.b"]))
    made = page.evaluate(
        COMPUTE,
        {
            "layers": layers,
            "X": answer["x"],
            "T": T,
            "loss": answer["loss"],
            "lr": answer["lr"],
            "mistake": mistake,
        },
    )
    assert made["J"] == pytest.approx(answer["loss_value"], rel=1e-12)
    for k, tensor in enumerate(NAMES):
        for ours, theirs in (("grads", answer["gradients"]), ("next", answer["next"]["params"])):
            np.testing.assert_allclose(made[ours][k], theirs[tensor], 1e-9, 1e-13, err_msg=f"{mistake} {tensor}")


def test_an_edited_weight_moves_everything_and_the_link_keeps_it(window: Any) -> None:
    page = window.open("step?line=31")
    page.click('.diagram [data-id="nw1.0.0"]')
    page.click(".inspector .chip >> nth=0")  # w₁₁ in its formula
    page.fill("[name=parameter]", "2")
    page.click("[data-do=first]")
    assert shown(page, "w1.0.0") == 2
    s_1 = 2 * shown(page, "x.0") + shown(page, "w1.1.0") * shown(page, "x.1") + shown(page, "b1.0")
    page.click("[data-do=end]")
    assert shown(page, "z1.0") == pytest.approx(s_1)
    assert shown(page, "a1.0") == pytest.approx(1 / (1 + np.exp(-s_1)))
    link, loss = page.url, shown(page, "J")
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector(".diagram")
    assert shown(page, "J") == loss


def test_a_planted_mistake_is_measured_and_named_by_the_doctor(window: Any) -> None:
    page = window.open("step?line=31")
    page.wait_for_selector(".every .good")
    assert page.locator(".every .bad").count() == 0
    page.select_option("[name=mistake]", "activation-derivative-missing")
    verdicts = page.locator(".every tbody tr").all_inner_texts()
    assert [text.split()[-1] for text in verdicts] == ["wrong", "wrong", "right", "right"]
    page.click("[data-do=watch]")
    assert page.locator(".break-chart canvas").count() == 1
    page.click("[data-do=doctor]")
    page.wait_for_selector(".doctor .finding")
    assert "Hidden: slope of the activation missing" in page.locator(".doctor .finding").first.inner_text()
    page.click("[data-do=repair]")
    assert page.locator(".every .bad").count() == 0
