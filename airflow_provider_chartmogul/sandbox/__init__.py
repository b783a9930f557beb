"""
A local ChartMogul API for trying and testing DAGs: ``python -m airflow_provider_chartmogul.sandbox``.

No other part of this package imports it. It needs the extra ``sandbox``.
"""

from __future__ import annotations

from airflow_provider_chartmogul.sandbox._faults import Fault
from airflow_provider_chartmogul.sandbox._generated import EXAMPLE_OPPORTUNITY_UUID
from airflow_provider_chartmogul.sandbox._messages import RecordedRequest
from airflow_provider_chartmogul.sandbox._server import Sandbox

__all__ = ["EXAMPLE_OPPORTUNITY_UUID", "Fault", "RecordedRequest", "Sandbox"]
