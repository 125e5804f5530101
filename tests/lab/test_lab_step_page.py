"""Step through in Chromium: every number shown is plain NumPy's, and the page's mathematics is the package's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.lab.breaking import PLANTS
from nnbackprop.lab.messages import Step, encode
from nnbackprop.lab.small_networks import ARCHITECTURES, STEP_ACTIVATIONS, STEP_LOSSES, TAKES_LOGITS, people
from nnbackprop.lab.sources import sources
from nnbackprop.lab.stepping import step
from nnbackprop.optim import OPTIMIZERS

NAMES = ("dense1.W", "dense1.b", "dense2.W", "dense2.b")
COMPUTE = """async ({layers, X, T, mistake, ...how}) => {
    const {step} = await import('/static/js/network.js');
    const {rulesWith} = await import('/static/js/mistakes.js');
    const {J, grads, next, states} = step(layers, X, T, {...how, rules: rulesWith(mistake)});
    const flat = (layers) => layers.flatMap(({W, b}) => [W, b]);
    return {J, grads: grads.flatMap(({dW, db}) => [dW, db]), next: flat(next), states: states.map(flat)};
}"""
TABLES = """async () => {
    const tables = {activations: 'ACTIVATIONS', optimizers: 'OPTIMIZERS', network: 'LOSSES', mistakes: 'MISTAKES'};
    const names = async ([file, name]) => Object.keys((await import(`/static/js/${file}.js`))[name]);
    return Promise.all(Object.entries(tables).map(names));
}"""
EXPLAINED = """async () => {
    const {EQUATIONS} = await import('/static/js/equations.js');
    const {computeStep} = await import('/static/js/numbers.js');
    const {ACTIVATIONS} = await import('/static/js/activations.js');
    const {OPTIMIZERS, noStates} = await import('/static/js/optimizers.js');
    const {LOSSES} = await import('/static/js/network.js');
    const {sourceOf} = await import('/static/js/step/model.js');
    const {sources} = (await (await fetch('/api/options')).json()).step;
    const [missing, named] = [new Set(), new Set()];
    const losses = Object.keys(LOSSES);
    const pairs = Object.keys(ACTIVATIONS).flatMap((activation) => losses.map((loss) => [activation, loss]));
    const every = pairs.flatMap((pair) => Object.keys(OPTIMIZERS).map((optimizer) => [...pair, optimizer]));
    const [one, two] = [{X: [[1]], T: [[1, 0]]}, {X: [[1], [2]], T: [[1, 0], [0, 1]]}];
    const ways = [{...one, scalars: true}, {...one, scalars: false}, {...two, scalars: true}];
    for (const [[activation, loss, optimizer], way] of every.flatMap((one) => ways.map((way) => [one, way]))) {
        const last = loss.endsWith('mse') ? 'sigmoid' : 'identity';
        const layers = [{W: [[1, -1]], b: [0, 0], activation}, {W: [[1, 2], [1, 2]], b: [0, 0], activation: last}];
        const how = {loss, lr: 0.1, mistake: null, optimizer, t: 1, activation};
        const state = {...how, ...way, layers, row: 0, states: noStates(optimizer, layers)};
        for (const one of computeStep(state).numbers.values()) {
            if (!one.formula) continue;
            if (one.equation) named.add(one.equation);
            else if (activation !== 'identity') missing.add(one.kind);
            if (!sourceOf(state, one, sources)) missing.add(one.kind);
        }
    }
    return {missing: [...missing], named: [...named], known: Object.keys(EQUATIONS)};
}"""
AT_THE_BOTTOM = """(button) => {
    button.scrollIntoView({block: 'end'});
    button.click();
}"""
IN_THE_WINDOW = """(selector) => {
    const {top, bottom} = document.querySelector(selector).getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
}"""
DERIVATIONS = [Path(__file__).resolve().parents[2] / "docs" / f"derivation{part}.md" for part in ("", "-layers")]
SLOPES_NAMED = """async () => {
    const {ACTIVATIONS} = await import('/static/js/activations.js');
    const {possible} = await import('/static/js/mistakes.js');
    const named = (name) => possible('mse', name, 1).includes('activation-derivative-at-a');
    return Object.keys(ACTIVATIONS).filter(named);
}"""
SLOPES_DEFINED = """async () => {
    const {ACTIVATIONS} = await import('/static/js/activations.js');
    return Object.keys(ACTIVATIONS).filter((name) => ACTIVATIONS[name].prime);
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
    activations, optimizers, losses, mistakes = page.evaluate(TABLES)
    assert set(activations) == set(STEP_ACTIVATIONS)
    assert set(optimizers) == set(OPTIMIZERS)
    assert set(losses) == set(STEP_LOSSES)
    assert set(mistakes) == set(PLANTS)
    for name in ARCHITECTURES:
        for loss in losses:
            if (name, loss) == ("2-2-1", "softmax-cross-entropy"):
                continue
            output = "identity" if loss in TAKES_LOGITS else "sigmoid"
            request = {
                "network": name,
                "loss": loss,
                "output_activation": output,
                "samples": (0, 1, 2, 3),
                "lr": 0.05,
            }
            for activation in activations if loss == ARCHITECTURES[name].loss else ("sigmoid",):
                for mistake in (None, *page.evaluate(POSSIBLE, [loss, activation, 4])):
                    compare(page, Step(**request, activation=activation, mistake=mistake))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_pages_optimizers_are_the_packages(window: Any, optimizer: str) -> None:
    page, params, state = window.open("step"), None, None
    for t in (1, 2, 3):
        request = Step("2-2-1", samples=(0, 2), params=params, optimizer=optimizer, optimizer_state=state, t=t)
        after = compare(page, request)["next"]
        params, state = after["params"], after["optimizer_state"]


def test_every_number_that_is_computed_names_its_equation_and_its_code(window: Any) -> None:
    found = window.open("step").evaluate(EXPLAINED)
    assert found["missing"] == []
    assert set(found["named"]) == set(found["known"])
    text = "\n".join(path.read_text("utf-8") for path in DERIVATIONS)
    derived = set(re.findall(r"^\*\*\((D\d+)\)\*\*", text, re.MULTILINE))
    assert {name for name in found["known"] if re.fullmatch(r"D\d+", name)} <= derived
    for name, source in sources().items():
        assert all(source["marks"].values()), name


def compare(page: Any, request: Step) -> dict[str, Any]:
    """The page's step from the server's parameters, with the server's, which is returned."""
    answer, given = answer_of(request), request.optimizer_state or {}
    params, kinds = answer["params"], (answer["activation"], answer["output_activation"])
    layers = [
        {"W": params[f"dense{k + 1}.W"], "b": params[f"dense{k + 1}.b"], "activation": kind}
        for k, kind in enumerate(kinds)
    ]
    how: dict[str, Any] = {name: answer[name] for name in ("loss", "lr", "mistake", "optimizer", "t")}
    if given:
        how["states"] = [
            [{"W": s["dense1.W"], "b": s["dense1.b"]}, {"W": s["dense2.W"], "b": s["dense2.b"]}]
            for s in given.values()
        ]
    T = one_hot(answer["targets"], len(params["dense2.b"]))
    made = page.evaluate(COMPUTE, {"layers": layers, "X": answer["x"], "T": T, **how})
    assert made["J"] == pytest.approx(answer["loss_value"], rel=1e-12)
    pairs = [(made["grads"], answer["gradients"]), (made["next"], answer["next"]["params"])]
    states = (answer["next"]["optimizer_state"] or {}).values()
    for ours, theirs in (*pairs, *zip(made["states"], states, strict=True)):
        for k, tensor in enumerate(NAMES):
            np.testing.assert_allclose(ours[k], theirs[tensor], 1e-9, 1e-13, err_msg=f"{request} {tensor}")
    return answer


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


def test_the_last_line_leaves_every_factor_of_a_gradient_in_the_picture(window: Any) -> None:
    page = window.open("step?line=31")
    page.wait_for_selector(".progress-bar[value='31']")
    y, t, v_1, h_1, x_1 = (shown(page, id) for id in ("a2.0", "t.0", "w2.0.0", "a1.0", "x.0"))
    by_hand = 2 * (y - t) * y * (1 - y) * v_1 * h_1 * (1 - h_1) * x_1
    assert shown(page, "dw1.0.0") == pytest.approx(by_hand, rel=1e-12)
    for weight in ("w1.0.0", "b1.0"):  # before the step, its gradient, after the step
        assert shown(page, f"n{weight}") == pytest.approx(shown(page, weight) - 0.1 * shown(page, f"d{weight}"))


def test_inputs_are_explained_by_what_the_sample_is_called(window: Any) -> None:
    page = window.open("step?number=x.0")
    page.wait_for_selector(".diagram")
    pounds, inches = re.findall(r"(\d+) (?:lb|in)", page.inner_text("[name=sample] option:checked"))
    for id, value, about in (("x.0", pounds, "weight in pounds, less"), ("x.1", inches, "height in inches, less")):
        page.click(f'.diagram [data-id="{id}"]')
        (less,) = re.findall(rf"{about} (\d+)", page.inner_text(".inspector .kind"))
        assert shown(page, id) == int(value) - int(less)
    page.click('.diagram [data-id="t.0"]')
    assert "1 for a woman" in page.inner_text(".inspector .kind")
    assert shown(page, "t.0") == people().labels[0]


def test_the_equations_shown_are_those_of_as_many_outputs_as_there_are(window: Any) -> None:
    seen: dict[str, str] = {}
    for network in ARCHITECTURES:
        page = window.open(f"step?net={network}&scalars=1&line=1&number=da1.0")
        page.wait_for_selector(".inspector .equation")
        seen[network] = page.inner_text(".inspector .equation")
    assert seen == {"2-2-1": "D6 ∂J/∂hⱼ = δ vⱼ", "16-3-10": "D6 ∂J/∂hᵢ = Σⱼ δⱼ vᵢⱼ"}


def test_the_slope_that_a_formula_names_is_defined_beside_it(window: Any) -> None:
    page = window.open("step?line=31&mistake=activation-derivative-at-a&number=dz1.0")
    page.wait_for_selector(".slope-about")
    assert page.locator(".workings p").first.inner_text().endswith("· f′(h1)")
    assert page.inner_text(".slope-about").endswith("f′(s) = σ(s) (1 − σ(s)).")
    assert page.evaluate(SLOPES_NAMED) == page.evaluate(SLOPES_DEFINED)


def test_the_link_keeps_what_adam_remembers(window: Any) -> None:
    page = window.open("step?opt=adam&act=gelu&loss=binary-cross-entropy")
    page.wait_for_selector(".diagram")
    page.click("[data-do=many]")
    page.click("[data-do=end]")
    numbers, link = ("s0w1.1.0", "s1b2.0", "nw1.0.1", "J"), page.url
    before = [shown(page, id) for id in numbers]
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector(".diagram")
    assert [shown(page, id) for id in numbers] == before
    page.click("#step [data-do=reset]")
    first = [shown(page, f"w1.0.{j}") for j in (0, 1)]
    page.click("[data-do=end]")
    moved = [shown(page, f"nw1.0.{j}") - first[j] for j in (0, 1)]
    np.testing.assert_allclose(np.abs(moved), 0.1, rtol=1e-4)  # Adam's first step: the learning rate


def test_the_pointer_shows_a_formula_and_checks_its_edge_and_play_goes_on(window: Any) -> None:
    page = window.open("step?line=31")
    page.hover('.diagram [data-id="dw1.0.1"]')
    assert page.locator(".inspector .figures").first.inner_text() == "= −2 · (−0.0331)"
    assert page.inner_text(".inspector .equation .tag") == "D8"
    assert "∂J/∂wᵢⱼ = δⱼ xᵢ" in page.inner_text(
        ".inspector .equation"
    )  # of every weight, the one on show among them
    assert page.text_content(".code mark").lstrip("0123456789").strip().startswith('grads = {"W": xp.matmul(')
    assert page.locator(".check tbody th").first.inner_text() == "J(w₁₂ + ε)"
    above, below = (float(page.inner_text(f".check [data-check={key}]")) for key in ("above", "below"))
    slope = re.search(r"= \(([\d.]+) − ([\d.]+)\) / \(2 · 10−5\) = ([\d.]+)", page.inner_text(".check .workings"))
    assert slope is not None
    assert (float(slope[1]), float(slope[2])) == (above, below)
    assert float(slope[3]) == pytest.approx((above - below) / 2e-5, rel=1e-5)
    measured, hand = (page.inner_text(f".check [data-check={key}]") for key in ("measured", "hand"))
    assert measured == hand == f"{-2 * shown(page, 'dz1.1'):.8f}"
    page.click("[data-do=first]")
    page.click("[data-do=play]")
    page.wait_for_selector(".progress-bar[value='2']")
    page.click("[data-do=play]")


def test_back_takes_the_last_line_away(window: Any) -> None:
    page = window.open("step?line=3")
    page.wait_for_selector(".progress-bar[value='3']")
    lines = page.locator(".tape li, .tape tr").all_inner_texts()
    numbers = page.locator(".diagram .number[data-value]")
    ids = [numbers.nth(k).get_attribute("data-id") for k in range(numbers.count())]
    page.click("[data-do=next]")
    assert numbers.count() == len(ids) + 1
    page.click("[data-do=back]")
    assert page.get_attribute(".progress-bar", "value") == "3"
    assert [numbers.nth(k).get_attribute("data-id") for k in range(numbers.count())] == ids
    assert page.locator(".tape li, .tape tr").all_inner_texts() == lines


def test_a_planted_mistake_is_measured_and_named_by_the_doctor(window: Any) -> None:
    page = window.open("step?line=31")
    page.wait_for_selector(".every .good")
    assert page.locator(".every .bad").count() == 0
    page.select_option("[name=mistake]", "activation-derivative-missing")
    verdicts = page.locator(".every tbody tr").all_inner_texts()
    assert [text.split()[-1] for text in verdicts] == ["wrong", "wrong", "right", "right"]
    page.click("[data-do=watch]")
    assert page.locator(".break-chart canvas").count() == 1
    page.locator("[data-do=doctor]").evaluate(AT_THE_BOTTOM)
    page.wait_for_selector(".doctor .finding")
    assert page.evaluate(IN_THE_WINDOW, ".doctor")
    assert page.evaluate("document.activeElement.matches('.doctor h4')")
    said = page.locator(".doctor .finding").first.inner_text()
    assert said.startswith("Hidden: slope of the activation missing activation-derivative-missing")
    assert page.locator(".doctor > p").inner_text() == "Wrong gradients: W₁, b₁"
    page.click("[data-do=repair]")
    assert page.locator(".every .bad").count() == 0
