"""The rate limit: never exceeded, halved by a 429, raised again without one."""

from __future__ import annotations

import itertools
import threading

import pytest

from airflow_provider_chartmogul.hooks._rate_limit import RateLimit


def send(limit: RateLimit, now: float, seconds: float) -> list[float]:
    """Return the times of sequential requests within a number of seconds."""
    end = now + seconds
    times: list[float] = []
    while True:
        now += limit.reserve(now)
        if now >= end:
            return times
        times.append(now)


@pytest.mark.parametrize("rate", [0.5, 8.0, 20.0])
def test_requests_keep_the_rate(rate: float) -> None:
    times = send(RateLimit(rate), 1000.0, 20.0)
    assert len(times) == pytest.approx(20 * rate, abs=1)
    assert min(after - before for before, after in itertools.pairwise(times)) == pytest.approx(1 / rate)


def test_the_first_request_is_sent_immediately_and_idle_time_is_not_saved_up() -> None:
    limit = RateLimit(10.0)
    assert limit.reserve(5.0) == 0
    assert limit.reserve(100.0) == 0
    assert limit.reserve(100.0) == pytest.approx(0.1)


def test_a_refusal_halves_the_rate_at_most_once_a_second() -> None:
    limit = RateLimit(20.0)
    for now in (10.0, 10.1, 10.9):
        limit.on_rate_limited(now)
    assert limit.requests_per_second == pytest.approx(10.0, abs=0.2)
    limit.on_rate_limited(11.0)
    assert limit.requests_per_second == pytest.approx(5.0, abs=0.2)


def test_each_refusal_halves_the_rate_that_has_recovered_until_then() -> None:
    limit = RateLimit(20.0)
    limit.on_rate_limited(0.0)
    limit.on_rate_limited(30.0)
    assert limit.requests_per_second == pytest.approx(7.5)
    limit.on_rate_limited(1000.0)
    assert limit.requests_per_second == pytest.approx(10.0)


def test_the_rate_does_not_fall_to_zero() -> None:
    limit = RateLimit(20.0)
    for now in range(1000):
        limit.on_rate_limited(float(now))
    assert limit.requests_per_second == 20 / 32


def test_quiet_raises_the_rate_slowly_and_not_above_the_limit() -> None:
    limit = RateLimit(20.0)
    limit.on_rate_limited(0.0)
    assert len(send(limit, 0.0, 10.0)) < 120
    limit.reserve(30.0)
    assert 14 < limit.requests_per_second < 16
    limit.reserve(1000.0)
    assert limit.requests_per_second == 20.0


def test_retry_after_pauses_everybody_and_leaves_the_rate() -> None:
    limit = RateLimit(20.0)
    limit.on_rate_limited(10.0, 7.0)
    limit.on_rate_limited(10.0, 3.0)
    assert limit.pause_left(11.0) == pytest.approx(6.0)
    assert limit.reserve(10.0) == pytest.approx(7.0)
    assert limit.requests_per_second == 20.0
    assert limit.pause_left(18.0) == 0


def test_a_pause_of_more_than_a_minute_is_cut() -> None:
    limit = RateLimit(20.0)
    limit.on_rate_limited(0.0, 100_000.0)
    assert limit.reserve(0.0) == 60.0


def test_threads_do_not_get_the_same_slot() -> None:
    limit = RateLimit(1000.0)
    waits: list[float] = []
    threads = [threading.Thread(target=lambda: waits.extend(limit.reserve(0.0) for _ in range(500))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == pytest.approx([number / 1000 for number in range(4000)])


def test_two_triggerers_and_a_third_client_share_an_account_without_a_steady_stream_of_refusals() -> None:
    account_limit, others = 40, 15
    limits = [RateLimit(20.0), RateLimit(20.0)]
    due = [0.0, 0.0]
    refused, sent, this_second, counted = [], 0, 0, others
    while (now := min(due)) < 600:
        if int(now) != this_second:
            this_second, counted = int(now), others
        sender = due.index(now)
        counted += 1
        sent += 1
        if counted > account_limit:
            refused.append(now)
            limits[sender].on_rate_limited(now)
        due[sender] = now + max(limits[sender].reserve(now), 1e-6)
    assert len(refused) < sent / 50
    assert sent > 0.7 * 600 * (account_limit - others)
