"""The table of metrics names those that the package sends."""

from __future__ import annotations

import re

from tests.support.docs_pages import REPOSITORY

PAGE = REPOSITORY / "docs" / "alerts.md"
TYPES = {"count": "counter", "gauge": "gauge", "timing": "timer"}


def test_each_metric_is_in_the_table_with_its_type() -> None:
    sent = {
        (name, TYPES[method])
        for path in (REPOSITORY / "airflow_provider_chartmogul").rglob("*.py")
        for method, name in re.findall(r"\bmetrics\.(count|gauge|timing)\(\s*\"(\w+)\"", path.read_text())
    }
    documented = set(re.findall(r"^\| `chartmogul\.(\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE))
    assert sent == documented
