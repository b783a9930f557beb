"""The sales pipelines every ChartMogul account starts with."""

from __future__ import annotations

from typing import NamedTuple

from airflow_provider_chartmogul.opportunity import ForecastCategory


class Stage(NamedTuple):
    """What a deal takes over from its stage unless told otherwise."""

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

STAGE_OF_CATEGORY: dict[str, str] = {
    ForecastCategory.PIPELINE: "Discovery",
    ForecastCategory.BEST_CASE: "Evaluation",
    ForecastCategory.COMMITTED: "Verbal Commit",
    ForecastCategory.WON: "Closed Won",
    ForecastCategory.LOST: "Closed Lost",
}

_UNKNOWN = Stage(ForecastCategory.PIPELINE, 0)


def stage_named(name: object) -> Stage:
    """
    Return what a deal takes over from a stage.

    :param name: the stage's name; one that the user of the sandbox made up counts as just begun
    """
    return STAGES.get(str(name), _UNKNOWN)
