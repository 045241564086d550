"""Debian's Chromium on a page of the daemon, watched: no error, no other address, nothing that the policy forbids."""

import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import ConsoleMessage, Page, Request, async_playwright, expect

from tests.waiting import DEADLINE_S

CHROMIUM = shutil.which("chromium")
DEADLINE_MS = 1000 * DEADLINE_S
expect.set_options(timeout=DEADLINE_MS)
# A folder for pictures of the pages. Taken out: the daemon refuses a variable of its own that it does not know.
SHOTS = os.environ.pop("ORWATCH_SHOTS", None)


@dataclass
class Seen:
    """What went wrong on the page, and what it asked the daemon."""

    origin: str
    wrong: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def note_request(self, request: Request) -> None:
        self.requests.append(request)
        if not request.url.startswith((self.origin, f"blob:{self.origin}")):
            self.wrong.append(f"asked {request.url}")

    def note_console(self, message: ConsoleMessage) -> None:
        # A refusal of the daemon is an answer; Chromium notes it all the same.
        if message.type in ("error", "warning") and "the server responded with a status of" not in message.text:
            self.wrong.append(message.text)

    def sent(self, path: str) -> list[Request]:
        return [each for each in self.requests if each.url.partition("?")[0] == self.origin + path]

    def records(self) -> list[dict[str, Any]]:
        """What was sent to be judged."""
        return [json.loads(each.post_data or "") for each in self.sent("/imaging/ultrasound/predict")]


@asynccontextmanager
async def visiting(url: str, **options: Any) -> AsyncIterator[tuple[Page, Seen]]:
    """The page, loaded; on leaving, nothing may have gone wrong on it."""
    origin = "/".join(url.split("/")[:3])
    seen = Seen(origin)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            page = await browser.new_page(**{"viewport": {"width": 1440, "height": 900}, **options})
            page.set_default_timeout(DEADLINE_MS)
            page.on("pageerror", lambda error: seen.wrong.append(str(error)))
            page.on("console", seen.note_console)
            page.on("request", seen.note_request)
            await page.goto(url)
            yield page, seen
        finally:
            await browser.close()
    assert not seen.wrong, seen.wrong


async def shot(page: Page, name: str) -> None:
    """Only where somebody wants to see it."""
    if SHOTS:
        await page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)
