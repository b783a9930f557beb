"""
A local ChartMogul API to try DAGs and tests against: ``python -m airflow_provider_chartmogul.sandbox``.

Nothing else in this package imports it. It needs the extra ``sandbox``.
"""

from __future__ import annotations

from airflow_provider_chartmogul.sandbox.faults import Fault
from airflow_provider_chartmogul.sandbox.generate import EXAMPLE_OPPORTUNITY_UUID
from airflow_provider_chartmogul.sandbox.request_log import RecordedRequest
from airflow_provider_chartmogul.sandbox.server import Sandbox

__all__ = ["EXAMPLE_OPPORTUNITY_UUID", "Fault", "RecordedRequest", "Sandbox"]
