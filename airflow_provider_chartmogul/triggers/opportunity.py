"""Triggers for ChartMogul's opportunities."""

from airflow_provider_chartmogul.triggers._events import OpportunityForecastCategoryEventTrigger
from airflow_provider_chartmogul.triggers._waits import OpportunityFieldTrigger, OpportunityForecastCategoryTrigger

__all__ = [
    "OpportunityFieldTrigger",
    "OpportunityForecastCategoryEventTrigger",
    "OpportunityForecastCategoryTrigger",
]
