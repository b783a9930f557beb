from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_chartmogul.sandbox import Sandbox
from tests.support.sandbox_client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(requests_per_second=None) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = Client(sandbox)
    yield client
    client.session.close()
