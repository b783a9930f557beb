"""Operators for ChartMogul's opportunities."""

from __future__ import annotations

import itertools
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_chartmogul._airflow.failures import fail_fast_on_permanent_errors
from airflow_provider_chartmogul._airflow.task_tries import earlier_tries_began, was_tried_before
from airflow_provider_chartmogul._airflow.templates import is_templated, non_templated
from airflow_provider_chartmogul.exceptions import ChartMogulNotFoundError
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.links.chartmogul import ChartMogulCustomerLink
from airflow_provider_chartmogul.opportunity._requests import (
    CREATABLE_FIELDS,
    REQUIRED_FIELDS,
    UPDATABLE_FIELDS,
    check_fields,
)
from airflow_provider_chartmogul.opportunity._values import to_iso_date

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_chartmogul.opportunity import ForecastCategory, OpportunityType


class _NotGiven(Enum):
    NOT_GIVEN = "not given"

    def __str__(self) -> str:
        return self.value

    __repr__ = __str__


_NOT_GIVEN = _NotGiven.NOT_GIVEN


class RetrieveOpportunityOperator(BaseOperator):
    """
    Return an opportunity's JSON, as ChartMogul sends it, to XCom.

    The task fails without retries where none can help: a malformed UUID, a rejected API key, an opportunity that
    does not exist. See https://dev.chartmogul.com/reference/retrieve-an-opportunity for the fields, and
    :class:`~airflow_provider_chartmogul.opportunity.Opportunity` for a typed view of them.

    :param opportunity_uuid: the opportunity's UUID (templated)
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    """

    template_fields: Sequence[str] = ("opportunity_uuid", "chartmogul_conn_id")
    operator_extra_links = (ChartMogulCustomerLink(),)
    ui_color = "#d8ecf5"

    def __init__(
        self,
        *,
        opportunity_uuid: str,
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.opportunity_uuid = opportunity_uuid
        self.chartmogul_conn_id = chartmogul_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Retrieve the opportunity."""
        with fail_fast_on_permanent_errors():
            opportunity = ChartMogulHook(self.chartmogul_conn_id).retrieve_opportunity(self.opportunity_uuid)
        _log_opportunity(self, opportunity)
        return opportunity


class ListOpportunitiesOperator(BaseOperator):
    """
    Return the JSON of all opportunities that pass the given filters, newest first, to XCom.

    XCom lives in Airflow's database, so the task fails if there are more than ``max_records``; export those with
    :class:`~airflow_provider_chartmogul.transfers.object_storage.ChartMogulToObjectStorageOperator`.

    :param customer_uuid: UUID of the customer, ``cus_…`` (templated)
    :param opportunity_owner: email address of the owner (templated); ``owner`` is Airflow's own, the task's owner
    :param pipeline: name of the pipeline (templated)
    :param pipeline_stage: name of the stage (templated)
    :param estimated_close_date_on_or_after: a date, or a string ``YYYY-MM-DD`` (templated)
    :param estimated_close_date_on_or_before: a date, or a string ``YYYY-MM-DD`` (templated)
    :param max_records: how many opportunities are returned at most
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    """

    template_fields: Sequence[str] = (
        "customer_uuid",
        "opportunity_owner",
        "pipeline",
        "pipeline_stage",
        "estimated_close_date_on_or_after",
        "estimated_close_date_on_or_before",
        "chartmogul_conn_id",
    )
    ui_color = "#d8ecf5"

    def __init__(
        self,
        *,
        customer_uuid: str | None = None,
        opportunity_owner: str | None = None,
        pipeline: str | None = None,
        pipeline_stage: str | None = None,
        estimated_close_date_on_or_after: datetime.date | str | None = None,
        estimated_close_date_on_or_before: datetime.date | str | None = None,
        max_records: int = 1000,
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.customer_uuid = customer_uuid
        self.opportunity_owner = opportunity_owner
        self.pipeline = pipeline
        self.pipeline_stage = pipeline_stage
        self.estimated_close_date_on_or_after = estimated_close_date_on_or_after
        self.estimated_close_date_on_or_before = estimated_close_date_on_or_before
        self.max_records = max_records
        self.chartmogul_conn_id = chartmogul_conn_id
        if isinstance(max_records, bool) or not isinstance(max_records, int) or max_records < 1:
            raise ValueError(f"max_records: expected a whole number from 1 up, not {max_records!r}.")
        for name in ("estimated_close_date_on_or_after", "estimated_close_date_on_or_before"):
            date = getattr(self, name)
            if date is not None and not is_templated(date):
                to_iso_date(date, name)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """List the opportunities."""
        with fail_fast_on_permanent_errors():
            found = ChartMogulHook(self.chartmogul_conn_id).list_opportunities(
                customer_uuid=self.customer_uuid,
                owner=self.opportunity_owner,
                pipeline=self.pipeline,
                pipeline_stage=self.pipeline_stage,
                estimated_close_date_on_or_after=self.estimated_close_date_on_or_after,
                estimated_close_date_on_or_before=self.estimated_close_date_on_or_before,
            )
            opportunities = list(itertools.islice(found, self.max_records + 1))
            if len(opportunities) > self.max_records:
                raise ValueError(
                    f"There are more than {self.max_records} opportunities (max_records). Narrow the filters, or use "
                    "ChartMogulToObjectStorageOperator, which writes any number of them to a file."
                )
        self.log.info("%d opportunities.", len(opportunities))
        return opportunities


class CreateOpportunityOperator(BaseOperator):
    """
    Create an opportunity, exactly once, and return its JSON, as ChartMogul sends it, to XCom.

    ChartMogul cannot tell a repeated request from a new one. So after an answer that was lost, in this try or an
    earlier one, the task looks among the customer's newest opportunities for one with all the given fields, and
    returns it instead of creating another. If that cannot be decided, the task fails without retries and names the
    candidates. Tasks that create equal opportunities for the same customer at the same time need something to tell
    them apart, such as a custom attribute.

    What is given is checked when the DAG is parsed; what is templated, when it is rendered. Numbers and JSON may come
    as text. Optional fields that are None are not sent.

    :param customer_uuid: UUID of the customer, ``cus_…`` (templated)
    :param opportunity_owner: email address of a user with a CRM seat (templated); ``owner`` is Airflow's own, the
        task's owner
    :param pipeline: name of the pipeline (templated)
    :param pipeline_stage: name of the stage (templated)
    :param estimated_close_date: a date, or a string ``YYYY-MM-DD`` (templated)
    :param amount_in_cents: in the currency's smallest unit (templated)
    :param currency: three-letter code, such as USD (templated)
    :param type: how the amount recurs; default: ChartMogul's (templated)
    :param forecast_category: default: that of the stage (templated)
    :param win_likelihood: percent; default: that of the stage (templated)
    :param custom: custom attributes by name, or a JSON object of them as text (templated)
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    """

    template_fields: Sequence[str] = (
        "customer_uuid",
        "opportunity_owner",
        "pipeline",
        "pipeline_stage",
        "estimated_close_date",
        "amount_in_cents",
        "currency",
        "type",
        "forecast_category",
        "win_likelihood",
        "custom",
        "chartmogul_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"custom": "json"}
    operator_extra_links = (ChartMogulCustomerLink(),)
    ui_color = "#d8ecf5"

    def __init__(
        self,
        *,
        customer_uuid: str,
        opportunity_owner: str,
        pipeline: str,
        pipeline_stage: str,
        estimated_close_date: datetime.date | str,
        amount_in_cents: int | str,
        currency: str,
        type: OpportunityType | str | None = None,  # noqa: A002  # the API's name
        forecast_category: ForecastCategory | str | None = None,
        win_likelihood: int | str | None = None,
        custom: dict[str, Any] | str | None = None,
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.customer_uuid = customer_uuid
        self.opportunity_owner = opportunity_owner
        self.pipeline = pipeline
        self.pipeline_stage = pipeline_stage
        self.estimated_close_date = estimated_close_date
        self.amount_in_cents = amount_in_cents
        self.currency = currency
        self.type = type
        self.forecast_category = forecast_category
        self.win_likelihood = win_likelihood
        self.custom = custom
        self.chartmogul_conn_id = chartmogul_conn_id
        check_fields(non_templated(_fields_of(self, CREATABLE_FIELDS)), required=REQUIRED_FIELDS)

    def execute(self, context: Context) -> dict[str, Any]:
        """Create the opportunity, or find the one that an earlier try created."""
        from airflow_provider_chartmogul.hooks._create_once import create_opportunity_once

        with fail_fast_on_permanent_errors():
            opportunity = create_opportunity_once(
                ChartMogulHook(self.chartmogul_conn_id),
                _fields_of(self, CREATABLE_FIELDS),
                store=context.get("task_state_store"),
                tried_since=earlier_tries_began(context),
            )
        _log_opportunity(self, opportunity)
        return opportunity


class UpdateOpportunityOperator(BaseOperator):
    """
    Change some fields of an opportunity, leave the others, and return its JSON, as ChartMogul sends it, to XCom.

    Only the fields that are given are sent: 0, False and empty text as they are, None as null. What is given is
    checked when the DAG is parsed; what is templated, when it is rendered. Numbers and JSON may come as text.

    :param opportunity_uuid: the opportunity's UUID (templated)
    :param opportunity_owner: email address of a user with a CRM seat (templated); ``owner`` is Airflow's own, the
        task's owner
    :param pipeline: name of the pipeline (templated)
    :param pipeline_stage: name of the stage (templated)
    :param estimated_close_date: a date, or a string ``YYYY-MM-DD`` (templated)
    :param amount_in_cents: in the currency's smallest unit (templated)
    :param currency: three-letter code, such as USD (templated)
    :param type: how the amount recurs (templated)
    :param forecast_category: how likely it is thought to be won (templated)
    :param win_likelihood: percent (templated)
    :param custom: custom attributes by name, or a JSON object of them as text (templated)
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    """

    template_fields: Sequence[str] = (
        "opportunity_uuid",
        *CreateOpportunityOperator.template_fields[1:],
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"custom": "json"}
    operator_extra_links = (ChartMogulCustomerLink(),)
    ui_color = "#d8ecf5"

    def __init__(
        self,
        *,
        opportunity_uuid: str,
        opportunity_owner: str | _NotGiven | None = _NOT_GIVEN,
        pipeline: str | _NotGiven | None = _NOT_GIVEN,
        pipeline_stage: str | _NotGiven | None = _NOT_GIVEN,
        estimated_close_date: datetime.date | str | _NotGiven | None = _NOT_GIVEN,
        amount_in_cents: int | str | _NotGiven | None = _NOT_GIVEN,
        currency: str | _NotGiven | None = _NOT_GIVEN,
        type: OpportunityType | str | _NotGiven | None = _NOT_GIVEN,  # noqa: A002  # the API's name
        forecast_category: ForecastCategory | str | _NotGiven | None = _NOT_GIVEN,
        win_likelihood: int | str | _NotGiven | None = _NOT_GIVEN,
        custom: dict[str, Any] | str | _NotGiven | None = _NOT_GIVEN,
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.opportunity_uuid = opportunity_uuid
        self.opportunity_owner = opportunity_owner
        self.pipeline = pipeline
        self.pipeline_stage = pipeline_stage
        self.estimated_close_date = estimated_close_date
        self.amount_in_cents = amount_in_cents
        self.currency = currency
        self.type = type
        self.forecast_category = forecast_category
        self.win_likelihood = win_likelihood
        self.custom = custom
        self.chartmogul_conn_id = chartmogul_conn_id
        check_fields(non_templated(self._changes()))

    def execute(self, context: Context) -> dict[str, Any]:
        """Change the opportunity."""
        with fail_fast_on_permanent_errors():
            hook = ChartMogulHook(self.chartmogul_conn_id)
            opportunity = hook.update_opportunity(self.opportunity_uuid, **self._changes())
        _log_opportunity(self, opportunity)
        return opportunity

    def _changes(self) -> dict[str, Any]:
        fields = _fields_of(self, UPDATABLE_FIELDS)
        return {name: value for name, value in fields.items() if not isinstance(value, _NotGiven)}


class DeleteOpportunityOperator(BaseOperator):
    """
    Delete an opportunity.

    In a later try of the task it is no failure that there is no such opportunity: an earlier try may have deleted it.

    :param opportunity_uuid: the opportunity's UUID (templated)
    :param ignore_missing: succeed if there is no such opportunity in the first try either
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    """

    template_fields: Sequence[str] = ("opportunity_uuid", "chartmogul_conn_id")
    ui_color = "#d8ecf5"

    def __init__(
        self,
        *,
        opportunity_uuid: str,
        ignore_missing: bool = False,
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.opportunity_uuid = opportunity_uuid
        self.ignore_missing = ignore_missing
        self.chartmogul_conn_id = chartmogul_conn_id

    def execute(self, context: Context) -> None:
        """Delete the opportunity."""
        with fail_fast_on_permanent_errors():
            try:
                ChartMogulHook(self.chartmogul_conn_id).delete_opportunity(self.opportunity_uuid)
            except ChartMogulNotFoundError:
                if not self.ignore_missing and not was_tried_before(context):
                    raise
                self.log.info("There is no opportunity %s any more.", self.opportunity_uuid)
            else:
                self.log.info("Opportunity %s is deleted.", self.opportunity_uuid)


def _fields_of(operator: BaseOperator, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(operator, "opportunity_owner" if name == "owner" else name) for name in names}


def _log_opportunity(operator: BaseOperator, opportunity: dict[str, Any]) -> None:
    operator.log.info(
        "Opportunity %s: forecast category %s, stage %s.",
        opportunity["uuid"],
        opportunity.get("forecast_category"),
        opportunity.get("pipeline_stage"),
    )
