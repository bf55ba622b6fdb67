"""A real browser for tests that collects every error of a page."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright

CHROMIUM = "/usr/bin/chromium"  # Debian's; playwright's own needs a download
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@dataclass
class Visit:
    """A page and its errors: console errors and warnings (each CSP violation is one), uncaught
    exceptions, failed requests, and responses with a status of 400 or more."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self._complain(f"exception: {error}"))
        self.page.on("requestfailed", self._request_failed)
        self.page.on("response", self._response)

    @property
    def overflow_px(self) -> int:
        """By how much the document is wider than the window; at most 0 if it fits."""
        return self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")

    def _complain(self, text: str) -> None:
        self.complaints.append(f"{self.page.url}: {text}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._complain(f"console {message.type}: {message.text}")

    def _request_failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left before its icon arrived
            self._complain(f"request failed: {request.url} {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self._complain(f"{response.status} {response.url}")


OpenPage = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with pytest.MonkeyPatch.context() as environment, sync_playwright() as playwright:
        # Playwright's sync API runs an event loop in this thread. Django takes that for async
        # code and refuses the ORM, although nothing here runs concurrently.
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS) as browser:
            yield browser


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """open_page(base_url, width=…, height=…, color_scheme=…) → Visit, in a separate context."""
    contexts = []

    def open_(
        base_url: str, *, width: int = 1280, height: int = 800, color_scheme: str = "light"
    ) -> Visit:
        context = browser.new_context(
            base_url=base_url,
            viewport={"width": width, "height": height},
            color_scheme=color_scheme,  # type: ignore[arg-type]
        )
        contexts.append(context)
        context.set_default_timeout(15_000)
        return Visit(context.new_page())

    yield open_
    for context in contexts:
        context.close()


def log_in(visit: Visit, *, username: str, password: str) -> None:
    """Log in to the admin; the page is then its index."""
    page = visit.page
    page.goto("/admin/login/")
    page.fill("#id_username", username)
    page.fill("#id_password", password)
    page.click("[type=submit]")
    page.wait_for_url("**/admin/")
