"""Each change of a rule, its source or its destination raises the rule's version."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.db.models.functions import Now

from replication.jobs import circuits
from replication.jobs.waking import JOBS_CHANNEL, RULES_CHANGED
from replication.models import Destination, ReplicationRule
from tests.support.examples import a_rule

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule()


def version(rule: ReplicationRule) -> int:
    return ReplicationRule.objects.values_list("version", flat=True).get(pk=rule.pk)


def by_a_form(rule: ReplicationRule) -> None:
    rule.destination_prefix = "new/"
    rule.save()


def by_an_update(rule: ReplicationRule) -> None:
    ReplicationRule.objects.update(exclude="private/**")


def by_sql(rule: ReplicationRule) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE replication_replicationrule SET delete_policy = 'mirror'")


def by_its_source(rule: ReplicationRule) -> None:
    rule.source.bucket = "another"
    rule.source.save()


def by_its_destination(rule: ReplicationRule) -> None:
    Destination.objects.update(endpoint="https://oss-cn-beijing.aliyuncs.com")


def by_a_switch(rule: ReplicationRule) -> None:
    ReplicationRule.objects.update(enabled=False)


def by_a_pause(rule: ReplicationRule) -> None:
    ReplicationRule.pause(ReplicationRule.objects.all())


CHANGES = [
    by_a_form,
    by_an_update,
    by_sql,
    by_its_source,
    by_its_destination,
    by_a_switch,
    by_a_pause,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_raises_the_version_whatever_makes_it(
    rule: ReplicationRule, change: Callable[[ReplicationRule], None]
) -> None:
    before = version(rule)
    change(rule)
    assert version(rule) == before + 1


def test_a_change_of_one_source_leaves_the_rules_of_others(rule: ReplicationRule) -> None:
    other = a_rule("another")
    before = version(other)
    by_its_source(rule)
    assert other.source_id != rule.source_id
    assert version(other) == before


def test_a_row_that_was_read_earlier_does_not_lower_the_version(rule: ReplicationRule) -> None:
    stale = ReplicationRule.objects.get()
    for prefix in ("a/", "b/"):
        ReplicationRule.objects.update(source_prefix=prefix)
    stale.destination_prefix = "c/"
    stale.save()
    assert version(rule) == 4


def test_what_the_service_writes_does_not_raise_the_version(rule: ReplicationRule) -> None:
    before = version(rule)
    circuits.park_rules()
    ReplicationRule.objects.update(parked_at=Now(), braked_at=Now())
    Destination.objects.update(throttled_until=datetime.now(UTC), width=2.0)
    rule.refresh_from_db()
    rule.save()
    assert version(rule) == before


def test_a_change_is_announced_to_the_lanes_when_it_is_committed(rule: ReplicationRule) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"LISTEN {JOBS_CHANNEL}")
    by_an_update(rule)
    heard = list(connection.connection.notifies(timeout=30, stop_after=1))
    assert [notify.payload for notify in heard] == [RULES_CHANGED]
