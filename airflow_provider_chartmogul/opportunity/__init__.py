"""
ChartMogul's opportunity: its fields and enumerations, and a typed view of its JSON.

Imports neither Airflow nor an HTTP library.
"""

from airflow_provider_chartmogul.opportunity._fields import (
    ForecastCategory,
    NewOpportunity,
    OpportunityChanges,
    OpportunityFilters,
    OpportunityType,
)
from airflow_provider_chartmogul.opportunity._view import Opportunity

__all__ = [
    "ForecastCategory",
    "NewOpportunity",
    "Opportunity",
    "OpportunityChanges",
    "OpportunityFilters",
    "OpportunityType",
]
