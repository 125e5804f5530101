"""The lab's page in English and in Chinese."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nnbackprop import lab
from nnbackprop.diagnostics.gradcheck.mistakes.catalogue import MISTAKES
from nnbackprop.diagnostics.monitor.checks import RUN_CHECKS
from nnbackprop.lab.errors import MESSAGES
from nnbackprop.lab.options import options
from tests.support.lab_window import start, status
from tests.support.planted_faults import FAULTS, diagnosis_of

ENGLISH = """(main) => {
    const within = document.querySelector(main), found = [];
    const walker = document.createTreeWalker(within, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const place = node.parentElement;
        if (place.closest('[hidden], code, pre') || !place.checkVisibility()) continue;
        const framed = place.lang === 'en' && /^英文原文：/.test(place.closest('.original')?.textContent ?? '');
        if (!framed && /[A-Za-z]{2,}( [a-z]+){2,}/.test(node.data)) found.push(node.data);
    }
    return found;
}"""
"""Texts with three English words in a row, but for code and for what is said to be the original."""

SCRIPTS = Path(lab.__file__).parent / "static" / "js"
ASKED = re.compile(r'(?<![\w.])t\("([^"]+)"')  # t("key", ...)
DOCTOR = """async () => Object.fromEntries(Object.entries(await import('/static/js/strings/doctor_zh.js'))
    .map(([name, texts]) => [name, Object.keys(texts)]))"""
TOLD = """async (findings) => {
    const {finding} = await import('/static/js/doctor.js');
    return findings.map((one) => [...finding(one).querySelectorAll('p')].map((line) => line.textContent));
}"""


def test_both_languages_have_every_text(window: Any) -> None:
    page = window.open("step")
    keys = "async (name) => (await import(`/static/js/strings/${name}.js`)).default"
    en, zh = page.evaluate(keys, "en"), page.evaluate(keys, "zh")
    assert list(en) == list(zh)
    assert {key for key in en if sorted(_names(en[key])) != sorted(_names(zh[key]))} == set()
    used = {key for code in SCRIPTS.rglob("*.js") for key in ASKED.findall(code.read_text(encoding="utf-8"))}
    assert {"no-samples", "loading", "sample-caption"} <= used
    assert used - set(en) == set()
    doctor = page.evaluate(DOCTOR)
    assert set(doctor["FINDINGS"]) == set(doctor["MEASURED"]) == set(RUN_CHECKS)
    assert set(page.evaluate(keys, "server_zh")) == set(MESSAGES)
    assert set(doctor["MISTAKES"]) == set(MISTAKES)
    assert set(page.evaluate(keys, "recipes_zh")) == {recipe["name"] for recipe in options()["recipes"]}
    page.click("#language")
    assert page.get_attribute("html", "lang") == "zh-CN"
    assert page.inner_text("[data-do=next]") == "下一行"
    page.reload()
    assert page.inner_text("#tab-train") == "训练"
    page.click("#language")


def test_the_chinese_page_says_nothing_in_english(window: Any) -> None:
    page = window.open("train")
    page.click("#language")
    start(page, "house-prices", optimizer="sgd", lr="1000")  # which diverges, and the doctor says so
    status(page, "failed")
    page.wait_for_selector(".findings .finding")
    assert re.search(r"第 \d+ 步", page.locator(".findings .finding p").nth(1).inner_text())
    english = {"train": page.evaluate(ENGLISH, "main")}
    run = page.inner_text(".run-name")
    for place in (
        "draw",
        "step?line=31&mistake=sign-flipped",
        *(f"look?view={view}&run={run}" for view in ("confusion", "wrong", "weights", "unit", "map", "compare")),
        "share",
    ):
        page = window.open(place)
        if place == "draw":
            page.click("[data-do=example]")
            page.wait_for_selector(".bar.top-class")
        if place.startswith("step"):
            page.click("[data-do=doctor]")
            page.wait_for_selector(".doctor .finding")
        if place.startswith("look"):
            page.wait_for_selector("#look :is(.view-body > *, .view[aria-busy=false]), #notice:not([hidden])")
        english[place] = page.evaluate(ENGLISH, "main")
    assert {place: found for place, found in english.items() if found} == {}
    page.click("#language")


def test_every_finding_of_the_doctor_is_told_in_chinese_with_what_was_measured(window: Any) -> None:
    findings = [found for name in FAULTS for found in diagnosis_of(name).to_json()["findings"]]
    assert {found["id"] for found in findings} == set(RUN_CHECKS)
    page = window.open("train")
    page.click("#language")
    told = page.evaluate(TOLD, findings)
    titles = {found["id"]: head.split(" ", 1)[1] for found, (head, *_) in zip(findings, told, strict=True)}
    for found, (_, measured, cause, *_) in zip(findings, told, strict=True):
        values = found["measured"].values()
        assert "undefined" not in measured, found["id"]
        assert ("–" in measured) == (None in values), found["id"]
        assert all(value in measured for value in values if isinstance(value, str)), found["id"]
        if follows := re.search(r"It follows from (\S+)\.", found["cause"]):
            assert titles[follows[1]] in cause, found["id"]
    page.click("#language")


def _names(text: str) -> list[str]:
    return [part.split("}")[0] for part in text.split("{")[1:]]
