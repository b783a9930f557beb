from __future__ import annotations

from airflow_provider_chartmogul._airflow.progress import ProgressLog


def test_progress_is_logged_at_the_beginning_and_every_ten_minutes_at_most() -> None:
    lines: list[str] = []
    now = 0.0
    progress = ProgressLog(lambda line, *values: lines.append(line % values), lambda: now)
    for now, done in ((0.0, 0), (1.0, 1), (599.0, 2), (600.0, 37), (601.0, 38), (1800.0, 499)):  # noqa: B007  # the clock
        progress.report(done, 500, "won")
    assert lines == [f"{done} of 500 opportunities done, waiting for won." for done in (0, 37, 499)]
