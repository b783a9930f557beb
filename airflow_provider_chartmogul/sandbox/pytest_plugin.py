"""
A fixture for tests of DAGs.

Enable it in a ``conftest.py``: ``pytest_plugins = ["airflow_provider_chartmogul.sandbox.pytest_plugin"]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_chartmogul.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def chartmogul_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Start a sandbox with three opportunities, reached by the connection ``chartmogul_default``."""
    with Sandbox() as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", sandbox.connection_json)
        yield sandbox
