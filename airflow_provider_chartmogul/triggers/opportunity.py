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

# The public class paths, since Airflow's database holds stored triggers while private modules may be renamed.
for _name in __all__:
    globals()[_name].__module__ = __name__
