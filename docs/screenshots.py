"""Makes the pictures of the README: `make screenshots`. They show a real run of the demo server."""

from __future__ import annotations

import asyncio
import io
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI

from leakline import demo
from leakline.harness.data.model import RunResult
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.reports import terminal
from leakline.reports.html import html

IMAGES = Path(__file__).with_name("images")
LEAKS = "websocket_listeners,timeout_timers"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
STYLE = "font:14px/1.45 DejaVu Sans Mono,monospace;padding:18px"
PAPER = f'<body style="margin:0;background:#0c0e11;color:#d4d7dc"><pre style="{STYLE}">'


def terminal_page(result: RunResult) -> str:
    """What the terminal shows at the end of the run, as HTML."""
    console = Console(record=True, width=132, file=io.StringIO(), force_terminal=True)
    terminal.show(console, result, report=f"{result.directory}/report.html")
    return console.export_html(theme=MONOKAI, inline_styles=True, code_format=f"{PAPER}{{code}}</pre></body>")


def photograph(page: Page, text: str, name: str, *, full: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(text, encoding="utf-8")
        page.goto(path.as_uri())
        page.wait_for_timeout(800)
        where = page.locator("pre").first if not full else page
        where.screenshot(path=IMAGES / name)
    print(IMAGES / name)


def main() -> None:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as runs:
        result = asyncio.run(soak(SoakSettings(**demo.given(LEAKS, {"runs": f"{runs}/runs"}))))
    result = replace(result, directory=result.directory.removeprefix(f"{runs}/"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = browser.new_page(viewport={"width": 1240, "height": 980}, color_scheme="light", device_scale_factor=1)
        photograph(page, html(result), "report.png", full=True)
        photograph(page, terminal_page(result), "terminal.png", full=False)
        browser.close()


if __name__ == "__main__":
    main()
