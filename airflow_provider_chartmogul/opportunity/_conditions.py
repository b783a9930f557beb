"""The condition that ends a wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_chartmogul.opportunity._values import check_forecast_categories

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class WaitCondition:
    """
    What a wait for an opportunity's forecast category is over for.

    :param targets: the categories to wait for; None: any but the baseline
    :param failures: the categories that end the wait as a failure
    """

    targets: frozenset[str] | None
    failures: frozenset[str]

    @classmethod
    def parse(
        cls,
        target_categories: str | Iterable[str] | None,
        failure_categories: str | Iterable[str] | None,
    ) -> WaitCondition:
        """
        Read what a user wrote.

        :raises ValueError: if ChartMogul has no such category, if no target is left to wait for, or if a category
            is both a target and a failure
        """
        targets = None
        if target_categories is not None:
            targets = check_forecast_categories(target_categories, "target_categories")
            if not targets:
                raise ValueError("target_categories: empty; name a category, or give None to wait for any change.")
        failures = check_forecast_categories(failure_categories or (), "failure_categories")
        if both := (targets or frozenset()) & failures:
            raise ValueError(f"{', '.join(sorted(both))}: in target_categories and in failure_categories.")
        return cls(targets, failures)

    def __str__(self) -> str:
        """Name the awaited categories, for a log line."""
        return "any change" if self.targets is None else " or ".join(sorted(self.targets))

    def is_met(self, category: str | None, baseline: str | None) -> bool:
        """
        Tell whether an opportunity in this category is no longer waited for, be it for good or ill.

        :param category: the opportunity's forecast category now
        :param baseline: its forecast category when the wait began
        """
        if category in self.failures:
            return True
        return category != baseline if self.targets is None else category in self.targets
