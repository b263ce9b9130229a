"""A small client of Chromium's DevTools protocol, over a pipe: no port, no further package."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import io
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

#: What Debian, Ubuntu and others call it.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

#: Seconds after which a browser that says nothing counts as broken.
PATIENCE = 60

#: Keys as the protocol wants them.
KEYS = {
    "ArrowLeft": 37, "ArrowRight": 39, "ArrowUp": 38, "ArrowDown": 40, "Home": 36, "End": 35,
    "Tab": 9,
}  # fmt: skip


def browser() -> str | None:
    """Path of a browser, if one is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def opened(profile: Path) -> Iterator[Tab]:
    """Start a headless browser with one empty tab.

    Args:
        profile: Directory for what it stores and says.
    """
    profile.mkdir(parents=True, exist_ok=True)
    to_browser, orders = os.pipe()
    answers, from_browser = os.pipe()
    # The browser reads from 3 and writes to 4, which other files of this process may be.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_browser, from_browser)]
    log = os.open(profile / "log", os.O_WRONLY | os.O_CREAT)
    program = browser()
    assert program is not None
    process = os.posix_spawn(
        program,
        [program, *_flags(profile), "about:blank"],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, ends[0], 3),
            (os.POSIX_SPAWN_DUP2, ends[1], 4),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ],
        setsid=True,
    )
    for end in (to_browser, from_browser, *ends, log):
        os.close(end)
    try:
        yield Tab(orders, answers)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(orders)
        os.close(answers)


def _flags(profile: Path) -> list[str]:
    flags = ["--headless", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run",
             "--hide-scrollbars", "--disable-dev-shm-usage", "--force-color-profile=srgb",
             "--disable-background-networking", f"--user-data-dir={profile}"]  # fmt: skip
    # The sandbox refuses to run as root, as tests in containers do; what is shown is our own file.
    return [*flags, "--no-sandbox"] if os.geteuid() == 0 else flags


class Tab:
    """One tab of a browser.

    Attributes:
        events: What the browser told since the tab was opened, as the protocol writes it.
    """

    def __init__(self, orders: int, answers: int) -> None:
        self._orders, self._answers = orders, answers
        self._received, self._number, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = next(
            t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"
        )
        found = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._orders, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._answers], [], [], until - time.monotonic())
            assert ready, f"the browser was silent for {PATIENCE} seconds"
            part = os.read(self._answers, 1 << 20)
            assert part, "the browser has ended"
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def show(self, path: Path, *, width: int = 1000, height: int = 800, dark: bool = False) -> None:
        """Open a file in a window of some size and colour scheme, and wait until it is loaded."""
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        while self.run("document.readyState") != "complete":
            time.sleep(0.02)

    def resize(self, width: int, height: int) -> None:
        """Change the size of the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def run(self, script: str) -> Any:
        """Value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                           awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str, *, times: int = 1) -> None:
        """Press a key as a person does."""
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                          windowsVirtualKeyCode=KEYS[key])  # fmt: skip

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Move the mouse from one place in the window to another with its button down."""
        kinds = (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end))
        for kind, (x, y) in kinds:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1,
                      clickCount=1)  # fmt: skip

    def screenshot(self, *, whole: bool = False) -> Image.Image:
        """What the window shows; the whole page if asked."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        return Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")

    def requested(self) -> list[str]:
        """Addresses of everything that was asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[dict[str, Any]]:
        """What the console shows: exceptions, messages, and what the policy has blocked."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [event["params"] for event in self.events if event.get("method") in kinds]
