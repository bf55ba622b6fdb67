"""Which queues the rules of the database need, and which buckets must notify each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError

from replication.models import EventQueue, ReplicationRule, Source, SourceKind
from replication.tools.provisioning.arns import ProvisioningError, QueueAddress, queue_address
from replication.tools.provisioning.notifications import KeyRange, wanted_range


@dataclass(frozen=True)
class DesiredBucket:
    """A bucket, and the range of keys of each of its rules, by the rule's name."""

    name: str
    region: str
    endpoint_url: str
    profile: str
    ranges: dict[str, KeyRange]


@dataclass(frozen=True)
class DesiredQueue:
    """A queue and the buckets that must notify it.

    A `row` without a primary key is not in the database yet. With `is_partial`, other buckets may
    notify the queue too, and are left as they are.
    """

    row: EventQueue
    address: QueueAddress
    buckets: tuple[DesiredBucket, ...]
    is_partial: bool


def all_rules() -> list[ReplicationRule]:
    """All rules, disabled ones too, so that events arrive as soon as a rule is enabled."""
    return list(ReplicationRule.objects.select_related("source", "destination").order_by("name"))


def desired_queues(
    rules: Sequence[ReplicationRule],
    *,
    queue_name: str,
    source_names: Sequence[str],
    new_address: Callable[[EventQueue], QueueAddress],
) -> list[DesiredQueue]:
    """The queue of this name, which need not exist; without a name, all queues that are polled.

    A bucket can notify only queues of its own region.

    Args:
        source_names: only the buckets of these sources; empty: of all.
        new_address: asks AWS for the account of a queue that the database does not have.

    Raises:
        ProvisioningError: a bucket has no queue, or several that it could notify.
    """
    buckets = _buckets(rules, source_names)
    if queue_name:
        row = _row(queue_name, buckets)
        rows, buckets = [row], [each for each in buckets if each.region == row.region]
    else:
        rows = list(EventQueue.objects.filter(enabled=True))
    by_queue: dict[str, list[DesiredBucket]] = {row.name: [] for row in rows}
    for bucket in buckets:
        by_queue[_queue_of(bucket, rows).name].append(bucket)
    return [
        DesiredQueue(
            row,
            _address(row, new_address),
            tuple(by_queue[row.name]),
            is_partial=bool(source_names),
        )
        for row in rows
    ]


def removable_queues(
    rules: Sequence[ReplicationRule],
    *,
    queue_name: str,
    source_names: Sequence[str],
    new_address: Callable[[EventQueue], QueueAddress],
) -> list[DesiredQueue]:
    """The queues that may have parts of ours, each with all buckets that can notify it.

    The arguments are those of `desired_queues`. Queues that are not polled are included.

    Raises:
        ProvisioningError: there is no such source.
    """
    buckets = _buckets(rules, source_names)
    rows = [_row(queue_name, buckets)] if queue_name else list(EventQueue.objects.all())
    return [
        DesiredQueue(
            row,
            _address(row, new_address),
            tuple(bucket for bucket in buckets if bucket.region == row.region),
            is_partial=bool(source_names),
        )
        for row in rows
    ]


def bucket_without_rules(name: str, row: EventQueue) -> DesiredBucket:
    """A bucket that notifies the queue although no rule is for it any more."""
    source = Source.objects.filter(kind=SourceKind.S3, bucket=name).first()
    if source is None:
        return DesiredBucket(name, row.region, "", row.credential_profile, {})
    return DesiredBucket(name, source.region, source.endpoint_url, source.credential_profile, {})


def _address(row: EventQueue, new_address: Callable[[EventQueue], QueueAddress]) -> QueueAddress:
    if not row.url:
        return new_address(row)
    return queue_address(row.url, region=row.region, name=row.name)


def _buckets(rules: Sequence[ReplicationRule], source_names: Sequence[str]) -> list[DesiredBucket]:
    """The buckets of these sources, or of all, each with all its rules, also of other sources."""
    sources = list(Source.objects.filter(kind=SourceKind.S3))
    if missing := sorted(set(source_names) - {source.name for source in sources}):
        known = ", ".join(source.name for source in sources) or "none"
        raise ProvisioningError(
            f"there is no S3 source named {missing[0]!r}", hint=f"There are: {known}."
        )
    chosen = {each.bucket for each in sources if not source_names or each.name in source_names}
    found: dict[str, DesiredBucket] = {}
    for rule in rules:
        source = rule.source
        if source.bucket in chosen:
            bucket = DesiredBucket(
                source.bucket, source.region, source.endpoint_url, source.credential_profile, {}
            )
            found.setdefault(source.bucket, bucket).ranges[rule.name] = wanted_range(
                prefix=rule.source_prefix, suffix=rule.source_suffix
            )
    return [found[name] for name in sorted(found)]


def _row(name: str, buckets: Sequence[DesiredBucket]) -> EventQueue:
    """The queue of this name, or a new one for these buckets, not saved yet."""
    if row := EventQueue.objects.filter(name=name).first():
        return row
    regions = sorted({bucket.region for bucket in buckets})
    if len(regions) != 1:
        found = ", ".join(regions)
        raise ProvisioningError(
            f"queue {name}: the buckets are in several regions: {found}"
            if regions
            else f"queue {name}: no rule has an S3 source, so no bucket would notify it",
            hint="A bucket can notify only queues of its own region: make one queue for each "
            "region, with --source for the sources that it is for."
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


def _queue_of(bucket: DesiredBucket, rows: Sequence[EventQueue]) -> EventQueue:
    """The queue that the bucket can notify; of several, the one with the bucket's credentials."""
    near = [row for row in rows if row.region == bucket.region]
    alike = [row for row in near if row.credential_profile == bucket.profile]
    for found in (near, alike):
        if len(found) == 1:
            return found[0]
    if near:
        names = ", ".join(row.name for row in near)
        raise ProvisioningError(
            f"bucket {bucket.name}: it could notify several queues in {bucket.region}: {names}",
            hint="Choose one with --queue NAME, and the sources that it is for with --source NAME.",
        )
    raise ProvisioningError(
        f"bucket {bucket.name}: no queue in {bucket.region} is polled",
        hint="Make one with --queue NAME; or enable the queue, if the database has one.",
    )
