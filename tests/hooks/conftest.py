from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.creations import TIMEOUT

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect


@pytest.fixture
def impatient_sandbox(sandbox: Sandbox, connect: Connect) -> Sandbox:
    """Return a sandbox whose connection has a short timeout."""
    connect(extra={"max_retries": 2, "timeout": TIMEOUT})
    return sandbox
