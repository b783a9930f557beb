"""The pipelines and stages of a new ChartMogul account."""

from __future__ import annotations

from typing import Any, NamedTuple

from airflow_provider_chartmogul.opportunity import ForecastCategory


class Stage(NamedTuple):
    """The defaults that an opportunity takes from its stage."""

    forecast_category: ForecastCategory
    win_likelihood: int


PIPELINES = ("New Business", "Renewals")

STAGES = {
    "Discovery": Stage(ForecastCategory.PIPELINE, 10),
    "Evaluation": Stage(ForecastCategory.BEST_CASE, 30),
    "Negotiation": Stage(ForecastCategory.BEST_CASE, 60),
    "Verbal Commit": Stage(ForecastCategory.COMMITTED, 90),
    "Closed Won": Stage(ForecastCategory.WON, 100),
    "Closed Lost": Stage(ForecastCategory.LOST, 0),
}

STAGE_BY_CATEGORY: dict[str, str] = {
    ForecastCategory.PIPELINE: "Discovery",
    ForecastCategory.BEST_CASE: "Evaluation",
    ForecastCategory.COMMITTED: "Verbal Commit",
    ForecastCategory.WON: "Closed Won",
    ForecastCategory.LOST: "Closed Lost",
}

_UNKNOWN = Stage(ForecastCategory.PIPELINE, 0)


def get_stage(name: object) -> Stage:
    """
    Return a stage by its name.

    :param name: a name that is not among the default stages counts as an early stage
    """
    return STAGES.get(str(name), _UNKNOWN)


def stage_fields(category: ForecastCategory) -> dict[str, Any]:
    """Return the fields of an opportunity that moves to the stage of a forecast category."""
    stage_name = STAGE_BY_CATEGORY[category]
    return {
        "pipeline_stage": stage_name,
        "forecast_category": category.value,
        "win_likelihood": STAGES[stage_name].win_likelihood,
    }
