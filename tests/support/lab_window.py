"""A window of a browser with the lab's page in it."""

from __future__ import annotations

from typing import Any

TEXTS = """([selector, texts]) => String(texts) ===
    String([...document.querySelectorAll(selector)].map((one) => one.textContent))"""
"""Whether the elements of a selector have these texts."""


class Window:
    """A window of the browser, and everything that the page complained of or asked another server for."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.complaints: list[str] = []
        self.origin = address.split("/?")[0]
        self.context = browser.new_context(reduced_motion="reduce", locale="en-US", **options)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=self.origin)
        self.context.set_default_timeout(60_000)  # a busy machine is slow
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self._note(message.type == "error", message.text))
        self.page.on(
            "response", lambda answer: self._note(self._failed(answer), f"{answer.status} for {answer.url}")
        )
        self.page.on("pageerror", lambda error: self._note(True, str(error)))
        self.page.on("request", lambda request: self._note(not self._ours(request.url), f"asks for {request.url}"))
        self.page.goto(address)

    def _failed(self, answer: Any) -> bool:
        """Requests may be refused, such as a drawing that has no digit yet; files must be there."""
        return answer.status >= (500 if "/api/" in answer.url else 400)

    def _ours(self, url: str) -> bool:
        return url.startswith((self.origin, "data:", "blob:"))

    def _note(self, bad: bool, text: str) -> None:
        refused = text.startswith("Failed to load resource")  # its response was judged
        if bad and not refused:
            self.complaints.append(text)

    def open(self, fragment: str) -> Any:
        """The page at a fragment, as when its link is followed."""
        self.page.goto(f"{self.origin}/#{fragment}")
        self.page.reload()
        self.page.wait_for_function("() => document.querySelector('[role=tab][aria-selected=true]')")
        return self.page


def start(page: Any, recipe: str, **settings: str) -> None:
    """Begin a run on the tab Train."""
    page.select_option("[name=recipe]", recipe)
    for name, value in settings.items():
        fill = page.select_option if name == "optimizer" else page.fill
        fill(f".settings [name={name}]", value)
    page.locator(".main-buttons [data-do=start]").press("Enter")


def status(page: Any, *words: str) -> None:
    """Wait until the trainer is in one of these states."""
    page.wait_for_function(
        "words => words.includes(document.querySelector('.chip-status').dataset.status)", arg=words
    )
