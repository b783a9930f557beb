"""The opportunities of a new sandbox, which depend on the seed only, not on the date."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.opportunity import ForecastCategory, OpportunityType
from airflow_provider_chartmogul.sandbox import _timestamps as timestamps
from airflow_provider_chartmogul.sandbox._stages import PIPELINES, STAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE_OPPORTUNITY_UUID = "4ee13ca4-e7fe-11ee-fa7f-f303abf41acc"
"""The newest opportunity of a sandbox, for any seed. It is open."""

EXAMPLE_CUSTOMER_UUID = "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7"
EXAMPLE_OWNER = "owner@example.com"

_NEWEST = 1_710_928_550_156_000
"""Creation time of the example, 2024-03-20T09:55:50.156Z, in microseconds."""

_NEWEST_OPEN = 10
"""Number of the newest opportunities that are open, so that a small sandbox has some to wait for."""

_MINUTE = 60_000_000
_OWNERS = (EXAMPLE_OWNER, "ada@example.com", "grace+emea@example.com", "linus@example.com")
_CURRENCIES = ("USD", "USD", "USD", "EUR", "GBP")
_TYPES = (OpportunityType.RECURRING, OpportunityType.RECURRING, OpportunityType.ONE_TIME, OpportunityType.ARR)
_CAMPAIGNS = ("Facebook", "Webinar", "Trade fair Köln", "Referral")
_OPEN_STAGES = tuple(
    name
    for name, stage in STAGES.items()
    if stage.forecast_category not in (ForecastCategory.WON, ForecastCategory.LOST)
)
_ANY_STAGE = (*_OPEN_STAGES, *STAGES)


def generate(seed: int, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """
    Yield opportunities with the fields of the API's responses, newest first.

    A greater ``count`` yields the same opportunities, followed by older ones.

    :param seed: determines all but the first, which is the example of ChartMogul's documentation
    :param count: number of opportunities
    :return: pairs of the creation time, in microseconds since 1970, and the opportunity
    """
    if count < 1:
        return
    yield _NEWEST, _example()
    random = Random(seed)
    customers = [EXAMPLE_CUSTOMER_UUID]
    created = _NEWEST
    for number in range(1, count):
        created -= _between(random, _MINUTE, 20 * _MINUTE)
        if number < 3 or random.random() < 0.4:
            customer = f"cus_{timestamps.random_uuid(random)}"
            customers.append(customer)
        else:
            customer = _pick(random, customers)
        stages = _OPEN_STAGES if number < _NEWEST_OPEN else _ANY_STAGE
        yield created, _opportunity(random, created, customer, _pick(random, stages))


def _opportunity(random: Random, created: int, customer: str, stage_name: str) -> dict[str, Any]:
    stage = STAGES[stage_name]
    updated = created + _between(random, 0, 30 * 24 * 60) * _MINUTE
    close = created + _between(random, 1, 120) * 24 * 60 * _MINUTE
    custom: dict[str, Any] = {}
    if random.random() < 0.7:
        custom["seats"] = _between(random, 1, 500)
    if random.random() < 0.4:
        custom["marketing_campaign"] = _pick(random, _CAMPAIGNS)
    if random.random() < 0.2:
        custom["from_campaign"] = random.random() < 0.5
    return {
        "uuid": timestamps.time_based_uuid(created, random),
        "customer_uuid": customer,
        "owner": _pick(random, _OWNERS),
        "pipeline": _pick(random, PIPELINES),
        "pipeline_stage": stage_name,
        "estimated_close_date": timestamps.to_json(close)[:10],
        "currency": _pick(random, _CURRENCIES),
        "amount_in_cents": _between(random, 10, 50_000) * 100,
        "type": _pick(random, _TYPES).value,
        "forecast_category": stage.forecast_category.value,
        "win_likelihood": stage.win_likelihood,
        "custom": custom,
        "created_at": timestamps.to_json(created),
        "updated_at": timestamps.to_json(updated),
    }


# Random.randrange and Random.choice take several times as long, and benchmarks need large accounts.
def _between(random: Random, low: int, high: int) -> int:
    return low + int(random.random() * (high - low))


def _pick(random: Random, choices: list[Any] | tuple[Any, ...]) -> Any:
    return choices[int(random.random() * len(choices))]


def _example() -> dict[str, Any]:
    return {
        "uuid": EXAMPLE_OPPORTUNITY_UUID,
        "customer_uuid": EXAMPLE_CUSTOMER_UUID,
        "owner": EXAMPLE_OWNER,
        "pipeline": "New Business",
        "pipeline_stage": "Discovery",
        "estimated_close_date": "2024-04-21",
        "currency": "USD",
        "amount_in_cents": 10000,
        "type": OpportunityType.RECURRING.value,
        "forecast_category": ForecastCategory.BEST_CASE.value,
        "win_likelihood": 40,
        "custom": {"seats": 3, "marketing_campaign": "Facebook"},
        "created_at": timestamps.to_json(_NEWEST),
        "updated_at": timestamps.to_json(_NEWEST),
    }
