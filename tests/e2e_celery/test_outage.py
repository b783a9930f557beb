"""The guarantees that hold after failures of workers, triggerers, scheduler, database and ChartMogul."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.e2e_celery.figures import outside_the_outage, peak_per_second, reads_of_the_list
from tests.e2e_celery.outage import NUMBER_OF_WAITS

if TYPE_CHECKING:
    from tests.e2e_celery.outage import Record

MOST_IN_A_SECOND = 22
"""Number of requests, 1/20 s apart, that may arrive within a second when two are late."""


def test_every_run_succeeded(record: Record) -> None:
    ended_otherwise = [run for run in record.runs if run["state"] != "success"]
    assert ended_otherwise == [], f"{len(ended_otherwise)} of {len(record.runs)} runs did not succeed"


def test_every_wait_ended_in_its_first_try(record: Record) -> None:
    assert Counter((task.state, task.try_number) for task in record.waits) == {("success", 1): NUMBER_OF_WAITS}


def test_every_wait_returned_its_opportunity_as_it_became(record: Record) -> None:
    returned = [task.returned for task in record.waits if task.returned]
    assert {one["forecast_category"] for one in returned} == {"lost"}
    assert sorted(one["uuid"] for one in returned) == sorted(record.waited_for)


def test_one_task_waited_for_thousands_in_its_first_try(record: Record) -> None:
    ((state, try_number, returned),) = [(task.state, task.try_number, task.returned) for task in record.wait_for_many]
    assert (state, try_number) == ("success", 1)
    assert [one["uuid"] for one in returned] == record.waited_for_in_one_task
    assert {one["forecast_category"] for one in returned} == {"lost"}


def test_another_client_of_the_account_is_hardly_ever_refused(record: Record) -> None:
    assert record.other_client[429] <= record.other_client.total() / 20


def test_no_wait_and_no_watcher_ended_with_an_error(record: Record) -> None:
    assert record.ends_of_triggers == []


def test_every_watched_change_led_to_a_run(record: Record) -> None:
    told = {event["opportunity_uuid"] for event in record.events}
    lost = {uuid: chapter for uuid, chapter in record.won.items() if uuid not in told}
    assert lost == {}, "no run received these changes"


def test_no_run_received_an_event_without_a_change(record: Record) -> None:
    assert {event["opportunity_uuid"] for event in record.events} <= record.won.keys()


def test_every_lead_got_one_opportunity(record: Record) -> None:
    created = {lead: len(record.created_for(lead)) for lead in record.leads}
    wrong = {lead: (count, record.leads[lead]) for lead, count in created.items() if count != 1}
    assert wrong == {}, "number of creations, and the fault at the time"


def test_every_creation_returned_what_it_created(record: Record) -> None:
    created = [one["uuid"] for lead in record.leads for one in record.created_for(lead)]
    assert sorted(task.returned["uuid"] for task in record.creations if task.returned) == sorted(created)


def test_what_a_killed_worker_had_created_was_found_rather_than_created_again(record: Record) -> None:
    lead = record.lead_of_killed_worker
    tries = [
        task.try_number for task in record.creations if task.returned and task.returned["custom"].get("lead") == lead
    ]
    assert tries not in ([], [1]), "the task did not succeed after its worker was killed, or before"
    assert len(record.requests_to_create(record.lead_of_killed_worker)) == 1


def test_another_triggerer_took_waits_over(record: Record) -> None:
    assert record.waits_taken_over > 1


def test_two_triggerers_sent_no_more_than_two_shares_of_the_limit(record: Record) -> None:
    assert record.waits_of_the_survivor, "only one triggerer polled at a time, which proves nothing"
    assert peak_per_second(reads_of_the_list(record)) <= 2 * MOST_IN_A_SECOND


def test_no_request_was_one_too_many_at_once(record: Record) -> None:
    assert 503 not in {request.status for request in outside_the_outage(record)}


def test_no_key_and_no_address_was_left_behind(leaked: list[str]) -> None:
    assert leaked == []
