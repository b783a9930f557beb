"""The fields of an opportunity, of the list's filters, and their enumerations; the single source for the package."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping


class ForecastCategory(StrEnum):
    """The sales team's estimate of the outcome."""

    PIPELINE = "pipeline"
    BEST_CASE = "best_case"
    COMMITTED = "committed"
    LOST = "lost"
    WON = "won"


class OpportunityType(StrEnum):
    """How the value of an opportunity recurs: monthly, once, or annually."""

    RECURRING = "recurring"
    ONE_TIME = "one-time"
    ARR = "arr"


class _RequiredFields(TypedDict):
    customer_uuid: str
    """UUID of the customer, ``cus_…``."""
    owner: str
    """Email address of a user with a CRM seat."""
    pipeline: str
    """Name of the pipeline."""
    pipeline_stage: str
    """Name of the stage."""
    estimated_close_date: datetime.date | str
    """A date, or a string ``YYYY-MM-DD``."""
    amount_in_cents: int | str
    """In the currency's minor unit."""
    currency: str
    """Three-letter code, such as USD."""


class _OptionalFields(TypedDict, total=False):
    type: OpportunityType | str | None
    """How the amount recurs; ChartMogul's default is ``recurring``."""
    forecast_category: ForecastCategory | str | None
    """Default: that of the stage."""
    win_likelihood: int | str | None
    """Percent, 0 to 100; default: that of the stage."""
    custom: Mapping[str, Any] | str | None
    """Custom attributes by name, or a JSON object of them as text."""


# In two classes, because `Required` inside a quoted annotation does not reach `__required_keys__`.
class NewOpportunity(_RequiredFields, _OptionalFields):
    """
    The fields of an opportunity to create; optional ones that are None are not sent.

    See https://dev.chartmogul.com/reference/opportunities/add.
    """


class _ChangeableFields(TypedDict, total=False):
    owner: str | None
    pipeline: str | None
    pipeline_stage: str | None
    estimated_close_date: datetime.date | str | None
    amount_in_cents: int | str | None
    currency: str | None


class OpportunityChanges(_ChangeableFields, _OptionalFields):
    """
    The fields that an update can set, as in :class:`NewOpportunity`; omitted ones are not changed, None is null.

    See https://dev.chartmogul.com/reference/opportunities/update.
    """


class OpportunityFilters(TypedDict, total=False):
    """
    The filters of the list of opportunities; those that are omitted or None do not filter.

    See https://dev.chartmogul.com/reference/list-opportunities.
    """

    customer_uuid: str | None
    """UUID of the customer, ``cus_…``."""
    owner: str | None
    """Email address of the owner."""
    pipeline: str | None
    """Name of the pipeline."""
    pipeline_stage: str | None
    """Name of the stage."""
    estimated_close_date_on_or_after: datetime.date | str | None
    """A date, or a string ``YYYY-MM-DD``."""
    estimated_close_date_on_or_before: datetime.date | str | None
    """A date, or a string ``YYYY-MM-DD``."""
