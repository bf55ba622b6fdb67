"""Which queues the rules of the database need, and which buckets are to notify each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError

from replication.models import EventQueue, ReplicationRule, Source, SourceKind
from replication.tools.provisioning.arns import ProvisioningError, QueueAddress, queue_address
from replication.tools.provisioning.notifications import KeyRange, wanted_range


@dataclass(frozen=True)
class BucketNeeds:
    """A bucket and, by the names of its rules, the keys that they are for."""

    name: str
    region: str
    endpoint_url: str
    profile: str
    ranges: dict[str, KeyRange]


@dataclass(frozen=True)
class QueueNeeds:
    """A queue and the buckets that are to notify it.

    `row` is not in the database yet if it has no primary key. With `is_partial`, the queue may
    hear other buckets besides, which are let alone.
    """

    row: EventQueue
    address: QueueAddress
    buckets: tuple[BucketNeeds, ...]
    is_partial: bool


def all_rules() -> list[ReplicationRule]:
    """Disabled ones, too: who enables a rule does not expect that S3 has forgotten it."""
    return list(ReplicationRule.objects.select_related("source", "destination").order_by("name"))


def needs(
    rules: Sequence[ReplicationRule],
    *,
    queue_name: str,
    source_names: Sequence[str],
    new_address: Callable[[EventQueue], QueueAddress],
) -> list[QueueNeeds]:
    """For the queue of that name, which need not exist, or else for all that are polled.

    A bucket can notify queues of its own region alone.

    Args:
        source_names: only the buckets of these sources; none: of all.
        new_address: asks AWS in which account a queue will be that the database does not have.

    Raises:
        ProvisioningError: the queue of a bucket is not known.
    """
    buckets = _buckets(rules, source_names)
    if queue_name:
        row = _row(queue_name, buckets)
        rows, buckets = [row], [each for each in buckets if each.region == row.region]
    else:
        rows = list(EventQueue.objects.filter(enabled=True))
    by_queue: dict[str, list[BucketNeeds]] = {row.name: [] for row in rows}
    for bucket in buckets:
        by_queue[_queue_of(bucket, rows).name].append(bucket)
    return [
        QueueNeeds(
            row,
            _address(row, new_address),
            tuple(by_queue[row.name]),
            is_partial=bool(source_names),
        )
        for row in rows
    ]


def leftovers(
    rules: Sequence[ReplicationRule],
    *,
    queue_name: str,
    source_names: Sequence[str],
    new_address: Callable[[EventQueue], QueueAddress],
) -> list[QueueNeeds]:
    """Where something of ours may be: as `needs`, but also of queues that are not polled, and in
    all buckets that can notify them.

    Raises:
        ProvisioningError: there is no such source.
    """
    buckets = _buckets(rules, source_names)
    rows = [_row(queue_name, buckets)] if queue_name else list(EventQueue.objects.all())
    return [
        QueueNeeds(
            row,
            _address(row, new_address),
            tuple(bucket for bucket in buckets if bucket.region == row.region),
            is_partial=bool(source_names),
        )
        for row in rows
    ]


def bucket_without_rules(name: str, row: EventQueue) -> BucketNeeds:
    """A bucket that the queue was made to hear, and that no rule is for any more."""
    source = Source.objects.filter(kind=SourceKind.S3, bucket=name).first()
    if source is None:
        return BucketNeeds(name, row.region, "", row.credential_profile, {})
    return BucketNeeds(name, source.region, source.endpoint_url, source.credential_profile, {})


def _address(row: EventQueue, new_address: Callable[[EventQueue], QueueAddress]) -> QueueAddress:
    if not row.url:
        return new_address(row)
    return queue_address(row.url, region=row.region, name=row.name)


def _buckets(rules: Sequence[ReplicationRule], source_names: Sequence[str]) -> list[BucketNeeds]:
    """The buckets of these sources, or else of all, with all their rules: several may share one."""
    sources = list(Source.objects.filter(kind=SourceKind.S3))
    if missing := sorted(set(source_names) - {source.name for source in sources}):
        known = ", ".join(source.name for source in sources) or "none"
        raise ProvisioningError(
            f"there is no S3 source named {missing[0]!r}", hint=f"There are: {known}."
        )
    asked = {each.bucket for each in sources if not source_names or each.name in source_names}
    found: dict[str, BucketNeeds] = {}
    for rule in rules:
        source = rule.source
        if source.bucket in asked:
            bucket = BucketNeeds(
                source.bucket, source.region, source.endpoint_url, source.credential_profile, {}
            )
            found.setdefault(source.bucket, bucket).ranges[rule.name] = wanted_range(
                prefix=rule.source_prefix, suffix=rule.source_suffix
            )
    return [found[name] for name in sorted(found)]


def _row(name: str, buckets: Sequence[BucketNeeds]) -> EventQueue:
    """The queue of that name, or one for these buckets."""
    if row := EventQueue.objects.filter(name=name).first():
        return row
    regions = sorted({bucket.region for bucket in buckets})
    if len(regions) != 1:
        found = ", ".join(regions)
        raise ProvisioningError(
            f"queue {name}: the buckets are in several regions: {found}"
            if regions
            else f"queue {name}: no rule has an S3 source, so there is nothing to hear of",
            hint="A bucket notifies queues of its own region: make one queue for each, with "
            "--source for those that it is for."
            if regions
            else "Apply a rules file first: manage.py applyrules rules.yaml.",
        )
    profiles = {bucket.profile for bucket in buckets}
    profile = profiles.pop() if len(profiles) == 1 else "default"
    row = EventQueue(name=name, region=regions[0], credential_profile=profile)
    try:
        row.clean_fields(exclude=["url"])
    except ValidationError as error:
        raise ProvisioningError(
            f"queue {name}: {' '.join(error.messages)}", hint="Give it another name with --queue."
        ) from error
    return row


def _queue_of(bucket: BucketNeeds, rows: Sequence[EventQueue]) -> EventQueue:
    """The one that can hear of the bucket; of several, the one with its credentials."""
    near = [row for row in rows if row.region == bucket.region]
    alike = [row for row in near if row.credential_profile == bucket.profile]
    for found in (near, alike):
        if len(found) == 1:
            return found[0]
    if near:
        names = ", ".join(row.name for row in near)
        raise ProvisioningError(
            f"bucket {bucket.name}: several queues in {bucket.region} could hear of it: {names}",
            hint="Say which with --queue NAME, and with --source NAME what it is for.",
        )
    raise ProvisioningError(
        f"bucket {bucket.name}: no queue in {bucket.region} is polled",
        hint="--queue NAME makes one. One that the database has is polled once it is enabled.",
    )
