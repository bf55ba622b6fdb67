"""The forms of sources and destinations refuse names that would only fail when they are used."""

import pytest
from django.test import Client

from replication.models import Destination, ReplicationRule, Source
from tests.admin.pages import change_url
from tests.admin.test_collisions import filled_in
from tests.support.examples import a_rule


@pytest.fixture
def photos(db: None) -> ReplicationRule:
    return a_rule("photos")


def refusals(client: Client, row: Source | Destination, **changed: str) -> dict[str, list[str]]:
    """What the form says is wrong, by field; the row stays as it is."""
    url = change_url(type(row)._meta.model_name or "", row.pk)
    response = client.post(url, filled_in(client, url, **changed))
    assert response.status_code == 200, "the form was saved"
    before = {name: getattr(row, name) for name in changed}
    row.refresh_from_db()
    assert {name: getattr(row, name) for name in changed} == before
    errors: dict[str, list[str]] = response.context["adminform"].form.errors
    return errors


@pytest.mark.parametrize(
    ("changed", "field", "instead"),
    [
        ({"bucket": "s3://photos"}, "bucket", "Enter the bucket's name alone: photos."),
        ({"bucket": "photos-s3alias"}, "bucket", "the bucket behind it"),
        ({"region": "us-east-1a"}, "region", "enter its region, us-east-1."),
        ({"endpoint_url": "https://photos.s3.amazonaws.com"}, "endpoint_url", "bucket's name in"),
    ],
)
def test_a_mistake_of_a_source_is_shown_at_its_field(
    operator_client: Client,
    photos: ReplicationRule,
    changed: dict[str, str],
    field: str,
    instead: str,
) -> None:
    found = refusals(operator_client, photos.source, **changed)
    assert list(found) == [field]
    assert instead in found[field][0]


@pytest.mark.parametrize(
    ("changed", "field", "instead"),
    [
        ({"bucket": "oss://photos"}, "bucket", "Enter the bucket's name alone: photos."),
        ({"region": "oss-cn-hongkong"}, "region", "without 'oss-': cn-hongkong."),
        ({"endpoint": "https://oss-cn-beijing.aliyuncs.com"}, "endpoint", "is in cn-beijing"),
        ({"addressing": "path"}, "addressing", "choose 'virtual_host'"),
    ],
)
def test_a_mistake_of_a_destination_is_shown_at_its_field(
    operator_client: Client,
    photos: ReplicationRule,
    changed: dict[str, str],
    field: str,
    instead: str,
) -> None:
    found = refusals(operator_client, photos.destination, **changed)
    assert field in found
    assert instead in found[field][0]
