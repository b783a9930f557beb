"""Triggers for ChartMogul's opportunities."""

from airflow_provider_chartmogul.triggers._events import OpportunityForecastCategoryEventTrigger
from airflow_provider_chartmogul.triggers._waits import OpportunityForecastCategoryTrigger

__all__ = [
    "OpportunityForecastCategoryEventTrigger",
    "OpportunityForecastCategoryTrigger",
]
