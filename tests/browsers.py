"""Chromium without a window, MLflow's UI for it to look at, and what is asked of a page that it shows.

Needs Debian's packages `chromium` and `chromium-driver`, and the Python packages selenium and axe-core-python.
"""

import contextlib
import importlib.resources
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1500,1150 --force-device-scale-factor=1"
)
# its panel covers a quarter of every page
CLOSE_ASSISTANT = """
for (const button of document.querySelectorAll('button[aria-label="Close"]')) button.click();
"""
# number of lines in the charts; null while something is still on its way
LINES = """
if (document.querySelector('[class*="skeleton" i], [aria-busy="true"]')) return null;
return document.querySelectorAll('.js-plotly-plot .trace').length;
"""
AXE = "axe.run().then(arguments[arguments.length - 1])"

NEEDS_CHROMIUM = [
    pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium (Debian: chromium chromium-driver)"),
    pytest.mark.skipif(shutil.which("chromedriver") is None, reason="no chromedriver (Debian: chromium-driver)"),
]


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A browser that keeps what its pages log and ask for."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install '.[dev]'")
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(shutil.which("chromedriver"))))
    try:
        yield made
    finally:
        made.quit()


@contextlib.contextmanager
def mlflow_ui(store: str, folder: Path) -> Iterator[str]:
    """The address of `mlflow ui` on a store, started in a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--backend-store-uri", store],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
                break
            assert process.poll() is None
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it keeps nothing
        process.wait(30)


class Viewer:
    """Looks at pages of MLflow's UI; MMCLF_SCREENSHOTS=DIR keeps the pictures."""

    def __init__(self, browser, server: str) -> None:
        self.browser, self.server = browser, server

    def __call__(self, page: str, *texts: str, lines: int = 0, name: str = "") -> str:
        """Open a page (or stay), wait until it shows these texts and lines of charts, keep a screenshot; its text."""
        if page:
            self.browser.get("about:blank")
            self.browser.get(f"{self.server}/#/{page}")
        deadline = time.monotonic() + 90
        before, (drawn, text) = None, self._seen()
        # two looks in a row that see the same: what is drawn after its title is drawn
        while drawn is None or drawn < lines or before != (drawn, text) or any(each not in text for each in texts):
            assert time.monotonic() < deadline, f"{texts} and {lines} lines not on {page}, but {drawn} lines:\n{text}"
            time.sleep(0.5)
            before, (drawn, text) = (drawn, text), self._seen()
        folder = os.environ.get("MMCLF_SCREENSHOTS")
        if folder and name:
            self.browser.save_screenshot(str(Path(folder) / f"{name}.png"))
        return text

    def _seen(self) -> tuple[int | None, str]:
        from selenium.webdriver.common.by import By

        self.browser.execute_script(CLOSE_ASSISTANT)
        return self.browser.execute_script(LINES), str(self.browser.find_element(By.TAG_NAME, "body").text)


def violations(browser) -> list[str]:
    """What axe-core finds wrong with the page or frame that is shown: rule, and the elements."""
    package = pytest.importorskip("axe_core_python", reason="no axe-core-python: pip install '.[dev]'")
    browser.execute_script((importlib.resources.files(package) / "axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script(AXE)
    assert len(found["passes"]) > 10  # it has looked
    return [f"{each['id']}: {node['html']}" for each in found["violations"] for node in each["nodes"]]


def errors(browser) -> list[str]:
    """What scripts of the pages shown since the last call complained of; MLflow asks for a user whom no store has."""
    log = browser.get_log("browser")
    return [entry["message"] for entry in log if entry["level"] == "SEVERE" and entry["source"] != "network"]


def requests(browser) -> list[str]:
    """The addresses that the pages shown since the last call asked for; not what is in the page or the browser."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if not url.startswith(("data:", "blob:", "about:", "chrome:"))]
