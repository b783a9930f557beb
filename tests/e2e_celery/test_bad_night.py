"""What holds after workers, triggerers, scheduler, database and ChartMogul itself have failed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.e2e_celery.figures import peak_per_second, reads_of_the_list
from tests.e2e_celery.night import NUMBER_OF_WAITS

if TYPE_CHECKING:
    from tests.e2e_celery.night import Night

REQUESTS_PER_SECOND = 20
"""What a triggerer may send, by default."""

JITTER = 2
"""How many requests of a triggerer the network may move into a second that they were not sent in."""


def test_every_run_succeeded(night: Night) -> None:
    ended_otherwise = [run for run in night.runs if run["state"] != "success"]
    assert ended_otherwise == [], f"{len(ended_otherwise)} of {len(night.runs)} runs did not succeed"


def test_every_wait_ended_in_its_first_try(night: Night) -> None:
    assert Counter((task["state"], task["try_number"]) for task in night.waits) == {("success", 1): NUMBER_OF_WAITS}


def test_every_wait_returned_its_opportunity_as_it_became(night: Night) -> None:
    assert {one["forecast_category"] for one in night.waits_returned} == {"lost"}
    assert sorted(one["uuid"] for one in night.waits_returned) == sorted(night.waited_for)


def test_every_watched_change_led_to_a_run(night: Night) -> None:
    told = {event["opportunity_uuid"] for event in night.events}
    lost = {uuid: chapter for uuid, chapter in night.won.items() if uuid not in told}
    assert lost == {}, "no run was told of these changes"


def test_no_run_was_told_of_what_did_not_change(night: Night) -> None:
    assert {event["opportunity_uuid"] for event in night.events} <= night.won.keys()


def test_every_lead_got_one_opportunity(night: Night) -> None:
    created = {lead: len(night.created_for(lead)) for lead in night.leads}
    wrong = {lead: (count, night.leads[lead]) for lead, count in created.items() if count != 1}
    assert wrong == {}, "created so many times, in this part of the night"


def test_every_creation_returned_what_it_created(night: Night) -> None:
    created = [one["uuid"] for lead in night.leads for one in night.created_for(lead)]
    assert sorted(one["uuid"] for one in night.creations_returned) == sorted(created)


def test_a_worker_died_between_a_creation_and_its_answer(night: Night) -> None:
    """Otherwise the night shows nothing about that."""
    tried_again = [task for task in night.creations if task["try_number"] > 1]
    assert tried_again
    assert any(len(night.requests_to_create(lead)) == 1 for lead in night.leads)


def test_another_triggerer_took_waits_over(night: Night) -> None:
    assert night.waits_taken_over > 1


def test_two_triggerers_kept_to_their_shares_of_the_limit(night: Night) -> None:
    peak = peak_per_second(reads_of_the_list(night))
    assert REQUESTS_PER_SECOND < peak <= 2 * (REQUESTS_PER_SECOND + JITTER)


def test_no_key_and_no_address_was_left_behind(leaked: list[str]) -> None:
    assert leaked == []
