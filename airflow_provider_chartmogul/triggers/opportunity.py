"""Triggers for ChartMogul's opportunities."""

from airflow_provider_chartmogul.triggers._events import (
    OpportunityEventTrigger,
    OpportunityForecastCategoryEventTrigger,
)
from airflow_provider_chartmogul.triggers._waits import OpportunityFieldTrigger, OpportunityForecastCategoryTrigger

__all__ = [
    "OpportunityEventTrigger",
    "OpportunityFieldTrigger",
    "OpportunityForecastCategoryEventTrigger",
    "OpportunityForecastCategoryTrigger",
]
