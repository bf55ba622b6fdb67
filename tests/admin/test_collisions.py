"""The forms of rules, sources and destinations refuse a change by which rules would collide."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client

from replication.models import Destination, ReplicationRule, Source
from replication.models.collisions import refuse_new_collisions
from tests.admin.pages import add_url, change_url
from tests.support.examples import a_rule
from tests.support.processes import eventually

NO_DOMAINS = {"domains-TOTAL_FORMS": "0", "domains-INITIAL_FORMS": "0"}


def filled_in(client: Client, url: str, **changed: Any) -> dict[str, Any]:
    """The form at this address as a browser would send it, after these changes."""
    initial = client.get(url).context["adminform"].form.initial | changed
    values = {name: value for name, value in initial.items() if value not in {None, False}}
    return values | NO_DOMAINS


def send(client: Client, url: str, form: dict[str, Any]) -> list[str]:
    """Send the form. Returns what it says is wrong; empty if it was saved."""
    response = client.post(url, form)
    if response.status_code == 302:
        return []
    errors: list[str] = response.context["adminform"].form.non_field_errors()
    assert errors, response.context["adminform"].form.errors
    return list(errors)


def edit(client: Client, row: Any, **changed: Any) -> list[str]:
    url = change_url(row._meta.model_name, row.pk)
    return send(client, url, filled_in(client, url, **changed))


def add(client: Client, like: Any, **changed: Any) -> list[str]:
    """Add a row that is like this one, apart from the changes."""
    name = like._meta.model_name
    return send(client, add_url(name), filled_in(client, change_url(name, like.pk), **changed))


@pytest.fixture
def photos(db: None) -> ReplicationRule:
    return a_rule("photos", destination_prefix="photos/")


@pytest.fixture
def scans(photos: ReplicationRule) -> ReplicationRule:
    """A rule to the bucket of `photos`, with another source, that does not collide with it."""
    return a_rule("scans", destination=photos.destination, destination_prefix="scans/")


def test_a_new_rule_that_would_collide_is_refused_with_both_rules_both_prefixes_and_the_bucket(
    operator_client: Client, photos: ReplicationRule, scans: ReplicationRule
) -> None:
    prefix = "photos/2026/"
    [refusal] = add(operator_client, scans, name="more", destination_prefix=prefix)
    assert refusal.startswith(
        "Rules photos and more can write the same keys of the bucket photos-replica: photos writes "
        "keys that begin with 'photos/', and more writes keys that begin with 'photos/2026/'."
    )
    assert "Give the rules destination prefixes" in refusal
    assert not ReplicationRule.objects.filter(name="more").exists()


def test_a_new_rule_with_the_same_source_and_mapping_is_added(
    operator_client: Client, photos: ReplicationRule
) -> None:
    assert not add(operator_client, photos, name="more", source_suffix=".jpg")
    assert ReplicationRule.objects.filter(name="more").exists()


def test_a_rule_that_would_collide_is_refused_though_it_is_disabled(
    operator_client: Client, photos: ReplicationRule, scans: ReplicationRule
) -> None:
    assert edit(operator_client, scans, destination_prefix="", enabled=False)
    assert not edit(operator_client, scans, destination_prefix="scans/2026/", enabled=False)


def test_one_of_two_equal_rules_may_not_rewrite_keys_alone(
    operator_client: Client, photos: ReplicationRule
) -> None:
    assert not add(operator_client, photos, name="more")
    [refusal] = edit(operator_client, photos, key_policy="rewrite")
    assert (
        "photos rewrites keys that OSS does not accept to keys that begin with "
        "'photos/.s3sync-key/', and more, which rewrites none, writes keys that begin with "
        "'photos/'."
    ) in refusal
    assert "Let both rules rewrite such keys, or neither" in refusal


def test_a_destination_that_moves_to_the_bucket_of_another_is_refused(
    operator_client: Client, photos: ReplicationRule
) -> None:
    videos = a_rule("videos")
    internal = "https://oss-cn-hongkong-internal.aliyuncs.com"
    bucket = photos.destination.bucket
    [refusal] = edit(operator_client, videos.destination, bucket=bucket, endpoint=internal)
    assert "Rules videos and photos can write the same keys of the bucket photos-replica" in refusal
    assert Destination.objects.get(name="videos").bucket == "videos-replica"
    assert not edit(operator_client, videos.destination, bucket="elsewhere")


def test_a_source_that_stops_being_the_bucket_of_another_is_refused(
    operator_client: Client, photos: ReplicationRule
) -> None:
    """Two rules of one bucket with one mapping can't collide; two rules of two buckets can."""
    other = a_rule(
        "other",
        bucket="photos-bucket",
        destination=photos.destination,
        destination_prefix="photos/",
    )
    [refusal] = edit(operator_client, other.source, bucket="other-bucket")
    assert "Rules other and photos can write the same keys" in refusal
    assert Source.objects.get(name="other").bucket == "photos-bucket"


def test_a_source_and_a_destination_without_a_rule_are_added(
    operator_client: Client, photos: ReplicationRule
) -> None:
    assert not add(operator_client, photos.source, name="new")
    assert not add(operator_client, photos.destination, name="new")


# -- collisions that are older than the check --------------------------------------------------


@pytest.fixture
def colliding(scans: ReplicationRule) -> ReplicationRule:
    """A rule that collides with `photos` at keys that begin with photos/2026/."""
    ReplicationRule.objects.filter(pk=scans.pk).update(destination_prefix="photos/2026/")
    scans.refresh_from_db()
    return scans


@pytest.mark.parametrize(
    "change",
    [
        {"source_suffix": ".jpg"},
        {"name": "renamed"},
        {"enabled": False},
        {"destination_prefix": "photos/2026/12/"},
        {"destination_prefix": "scans/"},
    ],
)
def test_a_colliding_rule_can_be_edited(
    operator_client: Client, colliding: ReplicationRule, change: dict[str, Any]
) -> None:
    assert not edit(operator_client, colliding, **change)


def test_a_colliding_rule_can_not_be_edited_to_collide_at_more_keys(
    operator_client: Client, colliding: ReplicationRule
) -> None:
    assert edit(operator_client, colliding, destination_prefix="photos/20")
    assert edit(operator_client, colliding, destination_prefix="photos/2025/")
    assert edit(operator_client, colliding, key_policy="rewrite", destination_prefix="photos/")


def test_a_colliding_rule_that_is_disabled_can_not_be_enabled(
    operator_client: Client, colliding: ReplicationRule
) -> None:
    assert not edit(operator_client, colliding, enabled=False)
    assert edit(operator_client, colliding, enabled=True)
    assert not edit(operator_client, colliding, enabled=True, destination_prefix="scans/")


# -- two changes at the same moment ------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_change_waits_for_another_and_is_refused_if_both_together_make_rules_collide() -> None:
    photos, scans = a_rule("photos"), a_rule("scans")
    client = Client()
    client.force_login(User.objects.create_superuser("operator", "", "operator"))
    url = change_url("destination", scans.destination.pk)
    form = filled_in(client, url, bucket="shared")

    def save_in_the_form() -> list[str]:
        try:
            return send(client, url, form)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            photos.destination.bucket = "shared"
            refuse_new_collisions(photos.destination)
            photos.destination.save()
            saving = pool.submit(save_in_the_form)
            eventually(somebody_waits_for_the_lock)
        [refusal] = saving.result()
    assert "Rules photos and scans can write the same keys of the bucket shared" in refusal


def somebody_waits_for_the_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXISTS (
                SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
                WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
            )
            """
        )
        return bool(cursor.fetchone()[0])
