"""Real lanes replicate the corpus from S3 to OSS, and each sample arrives as its table says.

There are two implementations of S3. The events of the one that sends events come from its queue.
"""

import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from replication.intake.matching import AnnouncedEvent, look_again, take_events
from replication.intake.object_events import ObjectEvent
from replication.mapping.keys import original_key
from replication.mapping.metadata import original_content_headers, original_metadata
from replication.mapping.ownership import source_mark
from replication.models import (
    Destination,
    EventQueue,
    Job,
    JobOrigin,
    JobState,
    Outcome,
    ReplicationRule,
    Source,
)
from replication.stores.checksums import CRC64
from replication.sweep.verify import Comparison, Verified, verify
from replication.transfer.tags import TAGS_SET
from sandbox.aws import AwsServer
from sandbox.environment import connect_bucket_to_queue
from sandbox.ministack import MiniStack
from sandbox.oss import OssServer
from tests.fidelity.bodies import PART_BYTES, THRESHOLD_BYTES
from tests.fidelity.corpus import CORPUS, EXCLUSIONS, MINISTACK, MOTO, WITH_EVENTS, samples_for
from tests.fidelity.legs import KMS_KEY_ID, VARIANTS
from tests.fidelity.oss_side import Replica, ReplicaBucket
from tests.fidelity.places import CHECKSUMS, COMPARED_CHECKSUMS
from tests.fidelity.s3_side import SourceBucket, Stored
from tests.fidelity.samples import Arrives, LeftOut, Refused, Sample, Shortfall, Variant
from tests.support.pollers import poll_until_empty
from tests.support.processes import eventually
from tests.support.road import OSS_REGION, work

pytestmark = pytest.mark.django_db(transaction=True)

_FIXTURES = {MINISTACK: "aws", MOTO: "moto"}
_REWRITES = {Variant.REWRITE, Variant.PREFIX}


@pytest.fixture(params=[MINISTACK, MOTO])
def implementation(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def server(request: pytest.FixtureRequest, implementation: str) -> AwsServer:
    found: AwsServer = request.getfixturevalue(_FIXTURES[implementation])
    return found


def test_there_are_enough_samples_and_their_names_and_keys_are_unique() -> None:
    assert len(CORPUS) >= 150
    assert len({sample.name for sample in CORPUS}) == len(CORPUS)
    assert len({sample.key for sample in CORPUS}) == len(CORPUS)


def test_every_exclusion_is_for_a_sample_of_the_corpus() -> None:
    names = {sample.name for sample in CORPUS}
    assert {name for exclusions in EXCLUSIONS.values() for name in exclusions} <= names


def test_every_exclusion_is_still_needed(server: AwsServer, implementation: str) -> None:
    bucket = _make_bucket(server)
    not_needed = {
        sample.name: exclusion
        for sample in CORPUS
        if (exclusion := sample.exclusions.get(implementation))
        and _shortfall(bucket, sample) != exclusion.how
    }
    assert not_needed == {}


@pytest.mark.parametrize("variant", Variant)
def test_the_corpus_arrives(
    server: AwsServer,
    implementation: str,
    oss: OssServer,
    limits: Callable[..., None],
    *,
    variant: Variant,
) -> None:
    limits(multipart_threshold_bytes=THRESHOLD_BYTES, multipart_chunksize_bytes=PART_BYTES)
    oss.add_kms_key(KMS_KEY_ID)
    oss.set_lenient(variant is Variant.LENIENT)
    samples = samples_for(variant, implementation)
    bucket = _make_bucket(server)
    rule = _make_rule(bucket, server, oss, variant)
    stored = _fill(bucket, samples)
    if implementation in WITH_EVENTS:
        eventually(lambda: _jobs_after_polling(rule) == len(samples))
    else:
        look_again(rule, [sample.key for sample in samples])
    work()

    jobs = {job.key: job for job in Job.objects.filter(rule=rule)}
    assert jobs.keys() == {sample.key for sample in samples}
    arrived = [(sample, _expected_key(sample, variant)) for sample in samples]
    problems = [problem for sample in samples for problem in _job_problems(sample, variant, jobs)]
    assert problems == []
    assert _set_later_tags(bucket, samples, rule) == []
    uploaded = {(one.key, one.part_number) for one in oss.requests(operation="UploadPart")}
    assert Counter(key for key, _ in uploaded) == _expected_parts(arrived)
    with ReplicaBucket(oss) as found:
        assert Counter(found.keys()) == Counter(key for _, key in arrived if key)
        for sample, key in arrived:
            if key:
                replica = found.read(key)
                problems += _replica_problems(sample, variant, key, replica, stored[sample.name])
    assert problems == []
    # The service's own comparison must agree; what the bucket takes may have been learned.
    rule.destination.refresh_from_db()
    verified = verify(rule, [sample.key for sample in samples], threads=8)
    assert {
        one.key: (one.verdict, one.reasons) for one in verified if not _is_as_expected(one, variant)
    } == {}


def _make_bucket(server: AwsServer) -> SourceBucket:
    name = f"t{uuid4().hex[:12]}"
    if isinstance(server, MiniStack):
        url = connect_bucket_to_queue(server, bucket=name, queue=name)
        EventQueue.objects.create(name=name, url=url, region=server.region)
    else:
        server.client("s3").create_bucket(Bucket=name)
        # Not for MiniStack: it can't return a range of a version.
        server.client("s3").put_bucket_versioning(
            Bucket=name, VersioningConfiguration={"Status": "Enabled"}
        )
    # Otherwise a public ACL is refused, as in every new bucket of S3.
    s3 = server.client("s3")
    s3.delete_public_access_block(Bucket=name)
    s3.put_bucket_ownership_controls(
        Bucket=name, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    )
    return SourceBucket(server, name)


def _make_rule(
    bucket: SourceBucket, server: AwsServer, oss: OssServer, variant: Variant
) -> ReplicationRule:
    source = Source.objects.create(
        name=bucket.bucket,
        bucket=bucket.bucket,
        region=server.region,
        endpoint_url=server.endpoint_url,
    )
    destination = Destination.objects.create(
        name=bucket.bucket, bucket="replica", endpoint=oss.endpoint, region=OSS_REGION
    )
    return ReplicationRule.objects.create(
        name=bucket.bucket, source=source, destination=destination, **VARIANTS[variant].fields
    )


def _fill(bucket: SourceBucket, samples: list[Sample]) -> dict[str, Stored]:
    with ThreadPoolExecutor(8) as pool:
        stored = pool.map(bucket.put, samples)
        return {sample.name: each for sample, each in zip(samples, stored, strict=True)}


def _set_later_tags(
    bucket: SourceBucket, samples: list[Sample], rule: ReplicationRule
) -> list[str]:
    """Set the tags that come after the upload, and work on the events, which neither implementation
    sends. Returns the samples that were not left as they are but for their tags."""
    later = [sample for sample in samples if sample.sent.later_tags is not None]
    for sample in later:
        bucket.set_later_tags(sample)
    events = [ObjectEvent(bucket.bucket, sample.key, "ObjectTagging:Put") for sample in later]
    intake = take_events([AnnouncedEvent(event) for event in events], origin=JobOrigin.EVENT)
    work()
    looks = Job.objects.filter(pk__in=intake.job_ids)
    as_expected = looks.filter(outcome=Outcome.UNCHANGED, remarks=TAGS_SET)
    return sorted({sample.key for sample in later} - set(as_expected.values_list("key", flat=True)))


def _shortfall(bucket: SourceBucket, sample: Sample) -> Shortfall | None:
    """How this implementation falls short of S3 for this sample; None if it doesn't."""
    try:
        bucket.put(sample)
        is_held = bucket.holds(sample)
    except ClientError:
        return Shortfall.REFUSES
    if not is_held:
        return Shortfall.ALTERS
    needs_customer_key = Refused("source_customer_key") in sample.expected.values()
    return Shortfall.SERVES if needs_customer_key else None


def _expected_key(sample: Sample, variant: Variant) -> str:
    """The key that the replica must have; empty if there must be no replica."""
    expected = sample.expected[variant]
    if not isinstance(expected, Arrives):
        return ""
    return sample.key if expected.key is None else expected.key


def _jobs_after_polling(rule: ReplicationRule) -> int:
    for queue in EventQueue.objects.all():
        poll_until_empty(queue)
    return Job.objects.filter(rule=rule).count()


def _is_as_expected(verified: Verified, variant: Variant) -> bool:
    """Whether the verdict agrees with the sample's table."""
    [sample] = [sample for sample in CORPUS if sample.key == verified.key]
    match sample.expected[variant]:
        case Arrives(storage_class="Standard" | "IA"):
            return verified.verdict == Comparison.EQUAL
        case LeftOut():
            return verified.verdict == Comparison.LEFT_OUT
        case _:  # refused, or archived and so not readable
            return verified.verdict == Comparison.NOT_COMPARED


def _expected_parts(arrived: list[tuple[Sample, str]]) -> dict[str, int]:
    """How many parts each large replica must be made of."""
    sizes = {key: len(sample.sent.body) for sample, key in arrived if key}
    return {
        key: math.ceil(size / PART_BYTES) for key, size in sizes.items() if size > THRESHOLD_BYTES
    }


def _job_problems(sample: Sample, variant: Variant, jobs: dict[str, Job]) -> list[str]:
    """The differences between the job's result and the sample's table."""
    job, expected = jobs[sample.key], sample.expected[variant]
    found = (job.state, job.outcome, job.error_code, bool(job.remarks))
    wanted: tuple[str, str | None, str, bool]
    match expected:
        case Refused(code):
            wanted = (JobState.FAILED, None, code, False)
        case LeftOut():
            wanted = (JobState.COMPLETED, Outcome.SKIPPED, "", True)
        case Arrives():
            # Every change is on record, except capitals in names and a default that S3 sets.
            wanted = (JobState.COMPLETED, Outcome.COPIED, "", _is_remarked(sample, variant))
    problems = (
        [] if found == wanted else [f"{sample.name}: {found} {job.error_detail}{job.remarks}"]
    )
    compared = COMPARED_CHECKSUMS[sample.title] if sample.group == CHECKSUMS else ""
    if not job.source_checksum.startswith(compared):
        problems.append(f"{sample.name}: the compared checksum is {job.source_checksum!r}")
    return problems


def _is_remarked(sample: Sample, variant: Variant) -> bool:
    expected = sample.expected[variant]
    assert isinstance(expected, Arrives)
    is_moved_below = (
        variant == Variant.PREFIX
        and expected.key == VARIANTS[variant].destination_prefix + sample.key
    )
    return not (expected.is_as_sent or is_moved_below or sample.is_mapped_by_s3)


def _replica_problems(
    sample: Sample, variant: Variant, key: str, replica: Replica, stored: Stored
) -> list[str]:
    """The differences between the replica and the sample's table."""
    expected, sent = sample.expected[variant], sample.sent
    assert isinstance(expected, Arrives)
    ours = {
        "s3sync-source": source_mark(stored.bucket, sample.key),
        "s3sync-etag": stored.etag,
        "s3sync-modified": stored.modified,
    }
    if stored.version_id:
        ours["s3sync-version"] = stored.version_id
    if variant in _REWRITES and key != VARIANTS[variant].destination_prefix + sample.key:
        ours["s3sync-key"] = replica.metadata.get("s3sync-key", "(none)")
    wanted = Replica(
        crc64=str(CRC64.calc(sent.body)),
        size_bytes=len(sent.body),
        headers=sent.headers if expected.headers is None else expected.headers,
        metadata={**(sent.metadata if expected.metadata is None else expected.metadata), **ours},
        tags=sent.last_tags if expected.tags is None else expected.tags,
        storage_class=expected.storage_class,
        acl=VARIANTS[variant].acl,
        encryption=VARIANTS[variant].encryption,
    )
    problems = [
        f"{sample.name}: {name} is {is_!r}, not {was!r}"
        for name, was in vars(wanted).items()
        if (is_ := getattr(replica, name)) != was
    ]
    if variant in _REWRITES and not sample.is_mapped_by_s3:
        back = (
            original_key(key, replica.metadata),
            original_metadata(replica.metadata),
            original_content_headers(replica.headers, replica.metadata),
        )
        if back != (VARIANTS[variant].destination_prefix + sample.key, sent.metadata, sent.headers):
            problems.append(f"{sample.name}: is restored to {back}")
    return problems
