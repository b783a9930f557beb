"""Parts of the domain for the tests of other packages."""

from __future__ import annotations

from airflow_provider_chartmogul.opportunity._watch_condition import WatchCondition


def watch_condition(
    events: object, fields: object = None, target_values: object = None, filters: object = None
) -> WatchCondition:
    """Return the condition of a watcher with these arguments."""
    return WatchCondition.parse(events, fields, target_values, filters)
