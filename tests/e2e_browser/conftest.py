"""A browser, a complete Airflow and the sandbox. The installed Airflow decides which tests are collected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, sync_playwright

from airflow_provider_chartmogul.sandbox import Sandbox
from scripts.isolation import REPOSITORY
from scripts.local_airflow import LocalAirflow
from tests.support.airflow_versions import AIRFLOW_VERSION, IS_AIRFLOW_3
from tests.support.local_airflow2 import LocalAirflow2

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = "/usr/bin/chromium"
IMAGES = REPOSITORY / "docs" / "images"
LARGEST_IMAGE = 100_000  # bytes
WINDOW: ViewportSize = {"width": 1180, "height": 860}
IMAGE_WIDTH = 1000  # pixels; GitHub scales wider ones down in the README

collect_ignore = ["test_connection_form_airflow2.py" if IS_AIRFLOW_3 else "test_connection_form.py"]
if AIRFLOW_VERSION < (3, 3):
    collect_ignore.append("test_pages.py")


class Screenshot(Protocol):
    """Save a named screenshot at a given window size, with --save-screenshots only."""

    def __call__(self, shown: Page | Locator, name: str, *, width: int = IMAGE_WIDTH, height: int = 600) -> None: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--save-screenshots", action="store_true", help="overwrite the screenshots in the documentation")


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(opportunities=25) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def airflow(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    home = tmp_path_factory.mktemp("airflow")
    connections = {"chartmogul_default": sandbox.connection_json}
    with (LocalAirflow if IS_AIRFLOW_3 else LocalAirflow2)(home, connections=connections, poke_interval=1.0) as airflow:
        yield airflow


@pytest.fixture
def page(airflow: LocalAirflow) -> Iterator[Page]:
    """Return a page of a fresh browser that shows Airflow's home page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=WINDOW)
        page.set_default_timeout(60_000)
        page.goto(airflow.url)
        yield page
        browser.close()


@pytest.fixture
def screenshot(request: pytest.FixtureRequest) -> Screenshot:
    def save(shown: Page | Locator, name: str, *, width: int = IMAGE_WIDTH, height: int = 600) -> None:
        if request.config.getoption("--save-screenshots"):
            page = shown if isinstance(shown, Page) else shown.page
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_load_state("networkidle")
            picture = shown.screenshot(animations="disabled")
            assert len(picture) < LARGEST_IMAGE
            (IMAGES / f"{name}.png").write_bytes(picture)
            page.set_viewport_size(WINDOW)

    return save
