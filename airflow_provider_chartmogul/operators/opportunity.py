"""Operators for ChartMogul's opportunities."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_chartmogul._airflow.failures import fail_fast_on_permanent_errors
from airflow_provider_chartmogul._airflow.task_tries import earlier_tries, is_retry, task_instance_key
from airflow_provider_chartmogul._airflow.templates import is_templated, non_templated
from airflow_provider_chartmogul.exceptions import ChartMogulNotFoundError
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.links.chartmogul import ChartMogulCustomerLink
from airflow_provider_chartmogul.opportunity._requests import (
    CHANGEABLE_FIELDS,
    CREATABLE_FIELDS,
    REQUIRED_FIELDS,
    check_fields,
    list_query,
)
from airflow_provider_chartmogul.opportunity._values import check_opportunity_uuid, read_mapping, read_uuids

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_chartmogul.opportunity import NewOpportunity, OpportunityChanges, OpportunityFilters

_DELETED = "deleted_opportunity"


class RetrieveOpportunityOperator(BaseOperator):
    """
    Return an opportunity's JSON, as ChartMogul sends it, to XCom.

    The task fails without retries on permanent errors: a malformed UUID, a rejected API key, an opportunity that
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


class RetrieveOpportunitiesOperator(BaseOperator):
    """
    Return the JSON of several opportunities, as ChartMogul sends it and in the order given, to XCom.

    One task that retrieves 100 opportunities costs Airflow much less than 100 mapped tasks that retrieve one each.
    If one of the opportunities cannot be retrieved, the task fails.

    :param opportunity_uuids: the UUIDs: a list, another task's output, text of a list, or comma-separated (templated)
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    """

    template_fields: Sequence[str] = ("opportunity_uuids", "chartmogul_conn_id")
    ui_color = "#d8ecf5"

    def __init__(
        self,
        *,
        opportunity_uuids: Iterable[str] | str,
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.opportunity_uuids = opportunity_uuids
        self.chartmogul_conn_id = chartmogul_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Retrieve the opportunities."""
        with fail_fast_on_permanent_errors():
            hook = ChartMogulHook(self.chartmogul_conn_id)
            opportunities = hook.retrieve_opportunities(read_uuids(self.opportunity_uuids))
        self.log.info("Opportunities retrieved: %d.", len(opportunities))
        return opportunities


class ListOpportunitiesOperator(BaseOperator):
    """
    Return the JSON of all opportunities that pass the given filters, newest first, to XCom.

    XCom lives in Airflow's database, so the task fails if there are more than ``max_records``; export those with
    :class:`~airflow_provider_chartmogul.transfers.object_storage.ChartMogulToObjectStorageOperator`.

    :param filters: any of :class:`~airflow_provider_chartmogul.opportunity.OpportunityFilters`; None: all
        opportunities (templated)
    :param max_records: the maximum number of opportunities to return
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    """

    template_fields: Sequence[str] = ("filters", "chartmogul_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"filters": "json"}
    ui_color = "#d8ecf5"

    def __init__(
        self,
        *,
        filters: OpportunityFilters | str | None = None,
        max_records: int = 1000,
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.max_records = max_records
        self.chartmogul_conn_id = chartmogul_conn_id
        if isinstance(max_records, bool) or not isinstance(max_records, int) or max_records < 1:
            raise ValueError(f"max_records: expected a whole number from 1 up, not {max_records!r}.")
        if filters is not None and not is_templated(filters):
            list_query(non_templated(read_mapping(filters, "filters")))

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """List the opportunities."""
        with fail_fast_on_permanent_errors():
            filters = {} if self.filters is None else read_mapping(self.filters, "filters")
            list_query(filters)  # before they become keyword arguments
            listed = ChartMogulHook(self.chartmogul_conn_id).list_opportunities(**cast("OpportunityFilters", filters))
            opportunities = list(itertools.islice(listed, self.max_records + 1))
            if len(opportunities) > self.max_records:
                raise ValueError(
                    f"There are more than {self.max_records} opportunities (max_records). Narrow the filters, or use "
                    "ChartMogulToObjectStorageOperator, which writes any number of them to a file."
                )
        self.log.info("Opportunities listed: %d.", len(opportunities))
        return opportunities


class CreateOpportunityOperator(BaseOperator):
    """
    Create an opportunity, exactly once, and return its JSON, as ChartMogul sends it, to XCom.

    ChartMogul has no idempotency key, so if a response is lost, in this try or an earlier one, the task looks for the
    opportunity among the customer's. With ``idempotency_attribute``, a custom attribute identifies it. Without, only an
    opportunity that equals the request in every field is accepted. If the result is ambiguous, the task fails without
    retries and names the candidates.

    Literal values are checked when the DAG is parsed, templated ones when the task runs. Numbers and JSON may come as
    text. Optional fields that are None are not sent.

    :param opportunity: the fields of :class:`~airflow_provider_chartmogul.opportunity.NewOpportunity`; or another
        task's output, or a template that renders to a JSON object (templated)
    :param idempotency_attribute: name of a custom attribute of opportunities, of type text, in which the task stores a
        key made of DAG, run, task and map index; define it in ChartMogul first (templated)
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    """

    template_fields: Sequence[str] = ("opportunity", "idempotency_attribute", "chartmogul_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"opportunity": "json"}
    operator_extra_links = (ChartMogulCustomerLink(),)
    ui_color = "#d8ecf5"
    _sleep = staticmethod(time.sleep)

    def __init__(
        self,
        *,
        opportunity: NewOpportunity | str,
        idempotency_attribute: str | None = None,
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.opportunity = opportunity
        self.idempotency_attribute = idempotency_attribute
        self.chartmogul_conn_id = chartmogul_conn_id
        if not is_templated(opportunity):
            fields = read_mapping(opportunity, "opportunity")
            missing = dict.fromkeys(name for name in REQUIRED_FIELDS if name not in fields)
            check_fields({**missing, **non_templated(fields)}, CREATABLE_FIELDS, required=REQUIRED_FIELDS)

    def execute(self, context: Context) -> dict[str, Any]:
        """Create the opportunity, or find the one that an earlier try created."""
        from airflow_provider_chartmogul.hooks._create_once import Creation, IdempotencyKey

        with fail_fast_on_permanent_errors():
            key, fields = None, read_mapping(self.opportunity, "opportunity")
            if self.idempotency_attribute is not None:
                key = IdempotencyKey(str(self.idempotency_attribute).strip(), task_instance_key(context))
                fields = key.added_to(fields)
            hook, store = ChartMogulHook(self.chartmogul_conn_id), context.get("task_state_store")
            opportunity = Creation(hook, fields, key, store, earlier_tries(context), self._sleep).run()
        _log_opportunity(self, opportunity)
        return opportunity


class UpdateOpportunityOperator(BaseOperator):
    """
    Change some fields of an opportunity, leave the others, and return its JSON, as ChartMogul sends it, to XCom.

    Only the given fields are sent: 0, False and empty text as they are, None as null. Literal values are checked when
    the DAG is parsed, templated ones when the task runs. Numbers and JSON may come as text.

    :param opportunity_uuid: the opportunity's UUID (templated)
    :param changes: any fields of :class:`~airflow_provider_chartmogul.opportunity.OpportunityChanges`; or another
        task's output, or a template that renders to a JSON object (templated)
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    """

    template_fields: Sequence[str] = ("opportunity_uuid", "changes", "chartmogul_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"changes": "json"}
    operator_extra_links = (ChartMogulCustomerLink(),)
    ui_color = "#d8ecf5"

    def __init__(
        self,
        *,
        opportunity_uuid: str,
        changes: OpportunityChanges | str,
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.opportunity_uuid = opportunity_uuid
        self.changes = changes
        self.chartmogul_conn_id = chartmogul_conn_id
        if not is_templated(changes):
            check_fields(non_templated(read_mapping(changes, "changes")), CHANGEABLE_FIELDS)

    def execute(self, context: Context) -> dict[str, Any]:
        """Change the opportunity."""
        with fail_fast_on_permanent_errors():
            changes = read_mapping(self.changes, "changes")
            check_fields(changes, CHANGEABLE_FIELDS)  # before they become keyword arguments
            hook = ChartMogulHook(self.chartmogul_conn_id)
            opportunity = hook.update_opportunity(self.opportunity_uuid, **cast("OpportunityChanges", changes))
        _log_opportunity(self, opportunity)
        return opportunity


class DeleteOpportunityOperator(BaseOperator):
    """
    Delete an opportunity.

    A retry succeeds if the opportunity does not exist, because the try before it may have deleted the opportunity. So
    does a cleared task on Airflow 3.3 and later, if an earlier try is known to have deleted it.

    :param opportunity_uuid: the opportunity's UUID (templated)
    :param ignore_missing: succeed if the opportunity does not exist
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
            uuid = check_opportunity_uuid(self.opportunity_uuid)
            store = context.get("task_state_store")  # Airflow 3.3 and later
            try:
                ChartMogulHook(self.chartmogul_conn_id).delete_opportunity(uuid)
            except ChartMogulNotFoundError:
                is_deleted = store is not None and store.get(_DELETED) == uuid
                if not (self.ignore_missing or is_deleted or is_retry(context)):
                    raise
                self.log.info("Opportunity %s does not exist any more.", uuid)
            else:
                self.log.info("Opportunity %s is deleted.", uuid)
                if store is not None:
                    store.set(_DELETED, uuid)


def _log_opportunity(operator: BaseOperator, opportunity: Mapping[str, Any]) -> None:
    operator.log.info(
        "Opportunity %s: forecast category %s, stage %s.",
        opportunity["uuid"],
        opportunity.get("forecast_category"),
        opportunity.get("pipeline_stage"),
    )
