"""The derivation keeps its word: equations and functions name each other, and its mathematics is measured."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from backends import select
from nnbackprop import Dense, MeanSquaredError, Sequential, Sigmoid, Softmax, SoftmaxCrossEntropy, WeightPenalty
from nnbackprop.nn.objective import Objective

ROOT = Path(__file__).parents[2]
ENGLISH = ROOT / "docs" / "derivation.md"
PAGES = {  # of each language, in the order in which equations are numbered
    "en": (ENGLISH, ROOT / "docs" / "derivation-layers.md"),
    "zh": (ROOT / "docs" / "derivation.zh.md", ROOT / "docs" / "derivation-layers.zh.md"),
}
DOCUMENTS = [page for pages in PAGES.values() for page in pages]
NAMED = re.compile(r"\[`(nnbackprop\.[\w.]+)`\]\(([^)\s]+)\)")
EQUATION = re.compile(r"^\*\*\(D(\d+)\)\*\* ([^\n]+)\n\n```math\n(.+?)\n```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```math\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"\$`([^`\n]*)`\$")
BORNE = re.compile(r"\(derivation, (D\d+(?:, D\d+)*)\)")

every_document = pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
every_language = pytest.mark.parametrize("language", PAGES)


def text_of(language: str) -> str:
    """The pages of a language as one text."""
    return "\n".join(page.read_text("utf-8") for page in PAGES[language])


def equations(language: str) -> dict[int, list[tuple[str, str]]]:
    """Of each number the functions it names, with the files it links."""
    return {int(number): NAMED.findall(caption) for number, caption, _ in EQUATION.findall(text_of(language))}


def docstrings() -> dict[str, list[int]]:
    """Of each function of the package whose docstring bears equation numbers, these."""
    found = {}
    for path in sorted((ROOT / "nnbackprop").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for name, text in documented(ast.parse(path.read_text("utf-8")), module):
            numbers = [int(n[1:]) for form in BORNE.findall(" ".join(text.split())) for n in form.split(", ")]
            assert len(numbers) == len(re.findall(r"\bD\d+\b", text)), f"{name}: another form of number: {text}"
            if numbers:
                found[name] = numbers
    return found


def documented(tree: Any, path: str) -> list[tuple[str, str]]:
    """Every name under `tree` that has a docstring, and the docstring."""
    found = [(path, ast.get_docstring(tree) or "")]
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found += documented(node, f"{path}.{node.name}")
    return found


def resolve(name: str) -> tuple[ModuleType, Any]:
    """The module of a dotted name, and what it names."""
    parts = name.split(".")
    for i in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:i]))
        except ModuleNotFoundError:
            continue
        thing: Any = module
        for part in parts[i:]:
            thing = getattr(thing, part)
        return module, thing
    raise AssertionError(f"no module in {name}")


# Equations and functions.


@every_language
def test_equations_are_numbered_from_one_without_gaps(language: str) -> None:
    text = text_of(language)
    numbers = [int(number) for number, *_ in EQUATION.findall(text)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == len(re.findall(r"^\*\*\(D\d+\)", text, re.MULTILINE)), "a number without its equation"
    assert len(numbers) > 55


@every_language
def test_an_equations_function_exists_where_it_is_linked_and_bears_the_number(language: str) -> None:
    borne = docstrings()
    for number, functions in equations(language).items():
        assert functions, f"D{number} names no function"
        for name, link in functions:
            module, thing = resolve(name)
            assert callable(thing), name
            assert Path(module.__file__ or "").resolve() == (ROOT / "docs" / link).resolve(), name
            assert number in borne.get(name, []), f"the docstring of {name} does not bear (derivation, D{number})"


@every_language
def test_a_docstrings_number_is_an_equation_that_names_the_function(language: str) -> None:
    named = equations(language)
    for function, numbers in docstrings().items():
        for number in numbers:
            assert function in [name for name, _ in named.get(number, [])], f"D{number} does not name {function}"
        assert numbers == sorted(set(numbers)), function


@every_language
def test_mentioned_equations_exist(language: str) -> None:
    assert {int(n) for n in re.findall(r"\bD(\d+)\b", text_of(language))} == set(equations(language))


@every_document
def test_headings_that_are_linked_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([\w.-]*\.md)?#(\S+?)\)", page.read_text("utf-8")):
        text = (page.parent / target).read_text("utf-8") if target else page.read_text("utf-8")
        headings = [re.sub(r"[^\w\- ]", "", line).strip().lower() for line in re.findall(r"^#+ (.*)$", text, re.M)]
        assert anchor in {heading.replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("page", "english"), list(zip(PAGES["zh"], PAGES["en"], strict=True)), ids=["first", "layers"]
)
def test_languages_have_the_same_equations(page: Path, english: Path) -> None:
    assert equations("zh") == equations("en")
    theirs, ours = (re.findall(BLOCK, p.read_text("utf-8")) for p in (page, english))
    assert [without_words(tex) for tex in theirs] == [without_words(tex) for tex in ours]
    pictures = [re.findall(r"\]\((figures/\S+)\)", p.read_text("utf-8")) for p in (page, english)]
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) >= 4 or "layers" in english.name


def without_words(tex: str) -> str:
    return "".join(re.sub(r"\\text\{[^}]*\}", "", tex).split())


# What GitHub renders.

REFUSED = (
    r"\\(newcommand|renewcommand|def|let|label|require|ref|eqref|tag|operatorname|href|unicode|class|style)\b"
)


def faults(tex: str) -> list[str]:
    """What would keep GitHub from rendering a formula."""
    bare = re.sub(r"\\[{}]", "", tex)
    depth = [bare[:i].count("{") - bare[:i].count("}") for i in range(len(bare) + 1)]
    opened = re.findall(r"\\begin\{(\w+\*?)\}", tex)
    lonely = re.sub(r"\\begin\{\w+\}|\\\\", "", tex)
    checks = {
        "braces do not balance": min(depth) == depth[-1] == 0,
        "begin and end do not match": opened == re.findall(r"\\end\{(\w+\*?)\}", tex)[::-1],
        "left and right do not match": len(re.findall(r"\\left\b", tex)) == len(re.findall(r"\\right\b", tex)),
        "a macro that is refused": not re.search(REFUSED, tex),
        "a character of HTML, TeX or Markdown": not re.search(r"[<>#%$`~]", tex),
        "a & outside of an environment": "&" not in tex or bool(opened),
        "words outside of \\text": re.sub(r"\\text\{[^}]*\}", "", lonely).isascii(),
        "an empty line or formula": bool(tex.strip()) and "\n\n" not in tex,
    }
    return [what for what, good in checks.items() if not good]


@pytest.mark.parametrize(
    "tex",
    [
        r"\frac{1}{2",
        r"}a{",
        r"\begin{aligned} a",
        r"\left( a )",
        r"a \tag{1}",
        r"\operatorname{sign}",
        "a < b",
        "a & b",
        "权",
        " ",
    ],
)
def test_a_formula_github_refuses_is_found(tex: str) -> None:
    assert faults(tex)


@every_document
def test_formulae_render_on_github(page: Path) -> None:
    text = page.read_text("utf-8")
    formulae = [*BLOCK.findall(text), *INLINE.findall(text)]
    assert len(formulae) > 100
    assert {tex: found for tex in formulae if (found := faults(tex))} == {}


@every_document
def test_mathematics_stands_in_fences_and_dollar_backticks_alone(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.count("```") % 2 == 0
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"\w\$`|`\$\w", prose), "a letter or digit at a dollar: GitHub leaves it as it is"
    assert "$" not in INLINE.sub("", prose)
    assert "`" not in re.sub(r"`[^`\n]+`", "", INLINE.sub("", prose))
    assert not [line for line in prose.splitlines() if line.startswith("|") and r"\|" in line]
    assert not [tex for tex in INLINE.findall(prose) if "|" in tex], "a bar ends a table's cell"


# The mathematics, measured. The formulae are those of the document, with its letters.

SCALARS = {
    "v1": "d * h1",  # D5
    "v2": "d * h2",
    "c": "d",
    "w11": "d1 * x1",  # D8
    "w21": "d1 * x2",
    "b1": "d1",
    "w12": "d2 * x1",
    "w22": "d2 * x2",
    "b2": "d2",
}
PEOPLE = ((-2.0, -1.0, 1.0), (2.5, 0.6, 0.0), (1.7, 0.4, 0.0), (-1.5, -0.6, 1.0))


def sigma(s: Any) -> Any:
    return 1 / (1 + np.exp(-s))


def forward(p: dict[str, float], x1: float, x2: float) -> dict[str, float]:
    """D1 and D2."""
    h1 = sigma(p["w11"] * x1 + p["w21"] * x2 + p["b1"])
    h2 = sigma(p["w12"] * x1 + p["w22"] * x2 + p["b2"])
    return {"h1": h1, "h2": h2, "y": sigma(p["v1"] * h1 + p["v2"] * h2 + p["c"])}


def scalar_gradients(p: dict[str, float], x1: float, x2: float, t: float) -> dict[str, float]:
    """D4, D7, then the nine."""
    f = forward(p, x1, x2)
    d = 2 * (f["y"] - t) * f["y"] * (1 - f["y"])
    d1 = d * p["v1"] * f["h1"] * (1 - f["h1"])
    d2 = d * p["v2"] * f["h2"] * (1 - f["h2"])
    letters = {**p, **f, "d": d, "d1": d1, "d2": d2, "x1": x1, "x2": x2}
    return {name: eval(formula, {}, letters) for name, formula in SCALARS.items()}


def loss(p: dict[str, float], x1: float, x2: float, t: float) -> float:
    """D3."""
    return (forward(p, x1, x2)["y"] - t) ** 2


def nine(seed: int) -> dict[str, float]:
    return dict(zip(SCALARS, np.random.default_rng(seed).standard_normal(9).tolist(), strict=True))


def slopes(value: Any, at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of a number by every entry of `at`."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        move = np.zeros_like(at)
        move[place] = step
        found[place] = (value(at + move) - value(at - move)) / (2 * step)
    return found


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("seed", range(3))
def test_the_nine_partial_derivatives_are_slopes(seed: int, person: tuple[float, float, float]) -> None:
    p = nine(seed)
    names = list(p)
    measured = slopes(lambda w: loss(dict(zip(names, w, strict=True)), *person), np.array([p[n] for n in names]))
    by_hand = scalar_gradients(p, *person)
    assert [by_hand[name] for name in names] == pytest.approx(measured.tolist(), rel=1e-7, abs=1e-9)


def arrays(p: dict[str, float]) -> tuple[np.ndarray, ...]:
    W = np.array([[p["w11"], p["w12"]], [p["w21"], p["w22"]]])
    return W, np.array([[p["b1"], p["b2"]]]), np.array([[p["v1"]], [p["v2"]]]), np.array([[p["c"]]])


def letters(dW: np.ndarray, db: np.ndarray, dV: np.ndarray, dc: np.ndarray) -> dict[str, float]:
    numbers = [*dV.ravel(), *dc.ravel(), dW[0, 0], dW[1, 0], db.ravel()[0], dW[0, 1], dW[1, 1], db.ravel()[1]]
    return dict(zip(SCALARS, map(float, numbers), strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_the_matrices_give_the_mean_of_the_scalars(seed: int) -> None:
    p = nine(seed)
    W, b, V, c = arrays(p)
    X, T = np.array(PEOPLE)[:, :2], np.array(PEOPLE)[:, 2:]
    n, k = T.shape
    ones = np.ones((n, 1))
    H = sigma(X @ W + ones @ b)  # D14
    Y = sigma(H @ V + ones @ c)
    dS = 2 / (n * k) * (Y - T) * Y * (1 - Y)  # D15, D19
    dZ = (dS @ V.T) * H * (1 - H)  # D18, D19
    by_matrices = letters(X.T @ dZ, ones.T @ dZ, H.T @ dS, ones.T @ dS)  # D16, D17
    each = [scalar_gradients(p, *person) for person in PEOPLE]
    for name, value in by_matrices.items():
        assert value == pytest.approx(sum(g[name] for g in each) / 4, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_package_computes_the_nine(seed: int) -> None:
    p = nine(seed)
    W, b, V, c = arrays(p)
    network = Sequential(Dense(2), Sigmoid(), Dense(1), Sigmoid())
    params = ({"W": W, "b": b[0]}, {}, {"W": V, "b": c[0]}, {})
    objective = Objective(network, MeanSquaredError("mean"))
    X, t = np.array(PEOPLE)[:, :2], np.array(PEOPLE)[:, 2].astype(int)
    g = objective.value_and_grad(select("numpy").xp, params, X, t, None).grads
    ours = letters(g[0]["W"], g[0]["b"], g[2]["W"], g[2]["b"])
    each = [scalar_gradients(p, *person) for person in PEOPLE]
    assert ours == pytest.approx({name: sum(e[name] for e in each) / 4 for name in ours}, rel=1e-12)


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)


def test_the_jacobian_of_softmax() -> None:
    p = np.array([0.2, 0.3, 0.5])
    jacobian = np.diag(p) - np.outer(p, p)  # p_i ([i = j] - p_j)
    shown = [[0.16, -0.06, -0.10], [-0.06, 0.21, -0.15], [-0.10, -0.15, 0.25]]
    assert jacobian.tolist() == [pytest.approx(row) for row in shown]
    rows = [slopes(lambda z, i=i: softmax(z)[i], np.log(p)) for i in range(3)]
    np.testing.assert_allclose(rows, jacobian, atol=1e-9)
    t = np.array([0.0, 1.0, 0.0])
    right = jacobian.T @ (-t / p)
    assert right == pytest.approx([0.2, -0.7, 0.5])
    assert np.diag(jacobian) * (-t / p) == pytest.approx([0, -0.7, 0])


def test_the_cancellation() -> None:
    """D24 behind D25 is D26, is what is measured, is what the package computes; the diagonal alone is not."""
    rng = np.random.default_rng(1)
    Z, labels, n = rng.standard_normal((5, 3)), np.array([0, 2, 1, 1, 0]), 5
    P, T = softmax(Z), np.eye(3)[labels]
    ones = np.ones((3, 1))
    dP = -T / P / n
    whole = P * (dP - (P * dP) @ ones @ ones.T)
    measured = slopes(lambda Z: -np.sum(T * np.log(softmax(Z))) / n, Z)
    xp = select("numpy").xp
    _, fused = SoftmaxCrossEntropy()(xp, Z, labels)
    for other in (measured, (P - T) / n, fused, Softmax().vjp(xp, P, dP)):
        np.testing.assert_allclose(other, whole, atol=1e-10)
    np.testing.assert_allclose(whole.sum(axis=1), 0, atol=1e-12)
    diagonal = P * (1 - P) * dP
    np.testing.assert_allclose(diagonal, -T * (1 - P) / n)
    assert np.linalg.norm(diagonal - whole) > 0.3 * np.linalg.norm(whole)


def test_sigmoid_and_binary_cross_entropy_cancel_too() -> None:
    rng = np.random.default_rng(2)
    Z, T, n = rng.standard_normal((5, 2)), rng.random((5, 2)), 5

    def J(Z: np.ndarray) -> float:  # noqa: N802
        P = sigma(Z)
        return float(-np.sum(T * np.log(P) + (1 - T) * np.log(1 - P)) / n)

    np.testing.assert_allclose(slopes(J, Z), (sigma(Z) - T) / n, atol=1e-9)


def test_the_penalty_and_its_gradient() -> None:
    """D28 and D29; the 1/n of the loss does not touch it."""
    rng, xp = np.random.default_rng(3), select("numpy").xp
    network, X, labels = Sequential(Dense(3)), rng.standard_normal((5, 4)), np.array([0, 1, 2, 1, 0])
    W, b = rng.standard_normal((4, 3)), rng.standard_normal(3)
    l1, l2 = 0.01, 0.3

    def J_all(W: np.ndarray) -> float:  # noqa: N802
        P = softmax(X @ W + b)
        return float(-np.log(P[np.arange(5), labels]).mean() + l1 * np.abs(W).sum() + l2 / 2 * (W**2).sum())

    objective = Objective(network, SoftmaxCrossEntropy(), WeightPenalty(l1=l1, l2=l2))
    J, _, _, grads, _ = objective.value_and_grad(xp, ({"W": W, "b": b},), X, labels, None)
    assert float(J) == pytest.approx(J_all(W), rel=1e-12)
    np.testing.assert_allclose(grads[0]["W"], slopes(J_all, W), atol=1e-8)


def test_a_column_of_ones_holds_both_gradients() -> None:
    rng = np.random.default_rng(4)
    X, dZ = rng.standard_normal((5, 4)), rng.standard_normal((5, 3))
    W, b = rng.standard_normal((4, 3)), rng.standard_normal((1, 3))
    wide = np.hstack([X, np.ones((5, 1))])
    np.testing.assert_allclose(wide @ np.vstack([W, b]), X @ W + b)
    np.testing.assert_allclose(wide.T @ dZ, np.vstack([X.T @ dZ, dZ.sum(axis=0)]))


@pytest.mark.parametrize(("outputs", "parallel"), [(1, True), (2, False)])
def test_shares_and_the_chain_rule_are_parallel_for_one_output_alone(outputs: int, parallel: bool) -> None:
    rng = np.random.default_rng(5)
    W, e, y = rng.standard_normal((4, outputs)), rng.standard_normal(outputs), rng.random(outputs)
    S = W.sum(axis=0)
    shares, chain = W @ (e / S), W @ (e * y * (1 - y))
    cosine = shares @ chain / np.linalg.norm(shares) / np.linalg.norm(chain)
    if parallel:
        assert cosine == pytest.approx(np.sign(S[0]), rel=1e-12)
    else:
        assert abs(cosine) < 0.999


def test_the_counts_of_the_text() -> None:
    params = Sequential(Dense(100), Sigmoid(), Dense(10)).init((784,))
    first, second = 784 * 100, 100 * 10
    said = (sum(a.size for layer in params for a in layer.values()), 3 * (first + second), 2 * first + 3 * second)
    text = ENGLISH.read_text("utf-8").replace("{,}", ",")
    assert [f"{number:,}" in text for number in said] == [True] * 3


# The tables and the pictures.


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    """docs/derivation_figures.py."""
    sys.path.insert(0, str(ROOT / "docs"))
    return importlib.import_module("derivation_figures")


def block(page: Path, name: str) -> str:
    return page.read_text("utf-8").split(f"<!-- figures: {name} -->\n")[1].split("<!-- end of figures -->")[0]


@every_language
def test_the_worked_numbers_are_the_scripts(language: str, figures: ModuleType) -> None:
    words, page = figures.WORDS[language], PAGES[language][0]
    assert block(page, "derivation-net").startswith(figures.net(words))
    assert block(page, "derivation-people").startswith(figures.people(words))


@pytest.mark.parametrize("page", [pages[0] for pages in PAGES.values()], ids=list(PAGES))
def test_the_runs_tell_the_story(page: Path) -> None:
    """The whole Jacobian beats its diagonal; shares turn round; the checks' step is right to nine digits."""
    cells = [line.split(" | ") for line in block(page, "derivation-softmax").splitlines()[2:5]]
    (right, diagonal, raw), cosines = (
        [float(row[1].rstrip("%")) for row in cells],
        [float(row[2]) for row in cells],
    )
    assert right > 92
    assert right > raw > diagonal + 30
    assert cosines[0] == 1
    assert cosines[1] < 0.7
    shares = block(page, "derivation-split").splitlines()[2].split(" | ")
    assert float(shares[2].strip(" |")) < 0 < float(shares[1])


@pytest.mark.parametrize("name", ["net", "shapes", "softmax", "step"])
def test_a_picture_is_on_white_and_without_a_date(name: str) -> None:
    text = (ROOT / "docs" / "figures" / f"derivation-{name}.svg").read_text(encoding="utf-8")
    assert "fill: #ffffff" in text
    assert "<dc:date>" not in text


def test_a_picture_is_the_same_to_the_byte(
    figures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, drawn = figures.pictures, []
    for turn in ("a", "b"):
        monkeypatch.setattr(pictures, "FOLDER", tmp_path)
        with pictures.mpl.rc_context(pictures.STYLE):
            pictures.save(turn, pictures.net())
        drawn.append((tmp_path / f"{turn}.svg").read_bytes())
    assert drawn[0] == drawn[1]


def test_every_function_named_is_documented_where_the_source_is() -> None:
    """The scan of the sources and the import agree on what a docstring says."""
    for name, numbers in docstrings().items():
        assert all(f"D{n}" in (inspect.getdoc(resolve(name)[1]) or "") for n in numbers), name
