"""The corpus goes from S3 to OSS by real lanes, and arrives as its table says.

S3 is served by two implementations; the one that sends events is heard through its queue.
"""

import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from replication.intake.matching import look_again
from replication.mapping.keys import original_key
from replication.mapping.metadata import original_content_headers, original_metadata
from replication.models import (
    Destination,
    EventQueue,
    JobState,
    Outcome,
    ReplicationRule,
    Source,
    TransferJob,
)
from replication.stores.checksums import CRC64
from replication.tools.verify import Comparison, Verified, verify
from sandbox.aws import AwsServer
from sandbox.environment import connect_bucket_to_queue
from sandbox.ministack import MiniStack
from sandbox.oss import OssServer
from tests.fidelity.bodies import PART_BYTES, THRESHOLD_BYTES
from tests.fidelity.corpus import CORPUS, EXCUSES, MINISTACK, MOTO, WITH_EVENTS, of_leg
from tests.fidelity.legs import KMS_KEY_ID, LEGS
from tests.fidelity.oss_side import Replica, ReplicaBucket
from tests.fidelity.places import CHECKSUMS, COMPARED_CHECKSUMS
from tests.fidelity.s3_side import SourceBucket, Stored
from tests.fidelity.samples import Arrives, LeftOut, Leg, Refused, Sample, Shortfall
from tests.support.pollers import poll_until_empty
from tests.support.processes import eventually
from tests.support.road import OSS_REGION, work

pytestmark = pytest.mark.django_db(transaction=True)

_FIXTURES = {MINISTACK: "aws", MOTO: "moto"}
_REWRITES = {Leg.REWRITE, Leg.PREFIX}


@pytest.fixture(params=[MINISTACK, MOTO])
def implementation(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def server(request: pytest.FixtureRequest, implementation: str) -> AwsServer:
    found: AwsServer = request.getfixturevalue(_FIXTURES[implementation])
    return found


def test_there_are_enough_objects_and_no_two_of_a_name() -> None:
    assert len(CORPUS) >= 150
    assert len({sample.name for sample in CORPUS}) == len(CORPUS)
    assert len({sample.key for sample in CORPUS}) == len(CORPUS)


def test_every_excuse_is_for_an_object_of_the_corpus() -> None:
    names = {sample.name for sample in CORPUS}
    assert {name for excuses in EXCUSES.values() for name in excuses} <= names


def test_an_implementation_that_is_excused_still_falls_short(
    server: AwsServer, implementation: str
) -> None:
    bucket = _make_bucket(server)
    outgrown = {
        sample.name: excuse
        for sample in CORPUS
        if (excuse := sample.excuses.get(implementation))
        and _shortfall(bucket, sample) != excuse.how
    }
    assert outgrown == {}


@pytest.mark.parametrize("leg", Leg)
def test_the_corpus_arrives(
    server: AwsServer,
    implementation: str,
    oss: OssServer,
    limits: Callable[..., None],
    *,
    leg: Leg,
) -> None:
    limits(multipart_threshold_bytes=THRESHOLD_BYTES, multipart_chunksize_bytes=PART_BYTES)
    oss.add_kms_key(KMS_KEY_ID)
    samples = of_leg(leg, implementation)
    bucket = _make_bucket(server)
    rule = _make_rule(bucket, server, oss, leg)
    stored = _fill(bucket, samples)
    if implementation in WITH_EVENTS:
        eventually(lambda: _jobs_after_polling(rule) == len(samples))
    else:
        look_again(rule, [sample.key for sample in samples])
    work()

    jobs = {job.key: job for job in TransferJob.objects.filter(rule=rule)}
    assert jobs.keys() == {sample.key for sample in samples}
    arrived = [(sample, _wanted_key(sample, leg)) for sample in samples]
    problems = [problem for sample in samples for problem in _job_problems(sample, leg, jobs)]
    assert problems == []
    uploaded = {(one.key, one.part_number) for one in oss.requests(operation="UploadPart")}
    assert Counter(key for key, _ in uploaded) == _parts_wanted(arrived)
    with ReplicaBucket(oss) as found:
        assert Counter(found.keys()) == Counter(key for _, key in arrived if key)
        for sample, key in arrived:
            if key:
                replica = found.read(key)
                problems += _replica_problems(sample, leg, key, replica, stored[sample.name])
    assert problems == []
    # And the service's own comparison is of the same opinion.
    verified = verify(rule, [sample.key for sample in samples], threads=8)
    assert {
        one.key: (one.verdict, one.reasons) for one in verified if not _is_as_told(one, leg)
    } == {}


def _make_bucket(server: AwsServer) -> SourceBucket:
    name = f"t{uuid4().hex[:12]}"
    if isinstance(server, MiniStack):
        url = connect_bucket_to_queue(server, bucket=name, queue=name)
        EventQueue.objects.create(name=name, url=url, region=server.region)
    else:
        server.client("s3").create_bucket(Bucket=name)
        # The other one can't give a part of a version.
        server.client("s3").put_bucket_versioning(
            Bucket=name, VersioningConfiguration={"Status": "Enabled"}
        )
    # Or a public ACL is refused, as in every new bucket of S3's.
    s3 = server.client("s3")
    s3.delete_public_access_block(Bucket=name)
    s3.put_bucket_ownership_controls(
        Bucket=name, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    )
    return SourceBucket(server, name)


def _make_rule(
    bucket: SourceBucket, server: AwsServer, oss: OssServer, leg: Leg
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
        name=bucket.bucket, source=source, destination=destination, **LEGS[leg].fields
    )


def _fill(bucket: SourceBucket, samples: list[Sample]) -> dict[str, Stored]:
    with ThreadPoolExecutor(8) as pool:
        stored = pool.map(bucket.put, samples)
        return {sample.name: each for sample, each in zip(samples, stored, strict=True)}


def _shortfall(bucket: SourceBucket, sample: Sample) -> Shortfall | None:
    """How this implementation fails to be S3 for this object; None if it does not."""
    try:
        bucket.put(sample)
        is_held = bucket.holds(sample)
    except ClientError:
        return Shortfall.REFUSES
    if not is_held:
        return Shortfall.ALTERS
    is_for_nobody = Refused("source_customer_key") in sample.expected.values()
    return Shortfall.SERVES if is_for_nobody else None


def _wanted_key(sample: Sample, leg: Leg) -> str:
    """Where the replica is to be; empty if nowhere."""
    expected = sample.expected[leg]
    if not isinstance(expected, Arrives):
        return ""
    return sample.key if expected.key is None else expected.key


def _jobs_after_polling(rule: ReplicationRule) -> int:
    for queue in EventQueue.objects.all():
        poll_until_empty(queue)
    return TransferJob.objects.filter(rule=rule).count()


def _is_as_told(verified: Verified, leg: Leg) -> bool:
    """Whether the verdict is the one that the table lets expect."""
    [sample] = [sample for sample in CORPUS if sample.key == verified.key]
    match sample.expected[leg]:
        case Arrives(storage_class="Standard" | "IA"):
            return verified.verdict == Comparison.EQUAL
        case LeftOut():
            return verified.verdict == Comparison.LEFT_OUT
        case _:  # refused, or not to be read back
            return verified.verdict == Comparison.NOT_COMPARED


def _parts_wanted(arrived: list[tuple[Sample, str]]) -> dict[str, int]:
    """How many parts each of the large ones is to be made of."""
    sizes = {key: len(sample.sent.body) for sample, key in arrived if key}
    return {
        key: math.ceil(size / PART_BYTES) for key, size in sizes.items() if size > THRESHOLD_BYTES
    }


def _job_problems(sample: Sample, leg: Leg, jobs: dict[str, TransferJob]) -> list[str]:
    """What of the job's end is not as the table says."""
    job, expected = jobs[sample.key], sample.expected[leg]
    found = (job.state, job.outcome, job.error_code, bool(job.remarks))
    wanted: tuple[str, str | None, str, bool]
    match expected:
        case Refused(code):
            wanted = (JobState.FAILED, None, code, False)
        case LeftOut():
            wanted = (JobState.COMPLETED, Outcome.SKIPPED, "", True)
        case Arrives():
            # What is other than it was is on record, but for a capital and a default.
            wanted = (JobState.COMPLETED, Outcome.COPIED, "", _is_remarked(sample, leg))
    problems = (
        [] if found == wanted else [f"{sample.name}: {found} {job.error_detail}{job.remarks}"]
    )
    compared = COMPARED_CHECKSUMS[sample.title] if sample.group == CHECKSUMS else ""
    if not job.source_checksum.startswith(compared):
        problems.append(f"{sample.name}: what was compared is {job.source_checksum!r}")
    return problems


def _is_remarked(sample: Sample, leg: Leg) -> bool:
    expected = sample.expected[leg]
    assert isinstance(expected, Arrives)
    is_moved_below = leg == Leg.PREFIX and expected.key == LEGS[leg].destination_prefix + sample.key
    return not (expected.is_as_sent or is_moved_below or sample.is_mapped_by_s3)


def _replica_problems(
    sample: Sample, leg: Leg, key: str, replica: Replica, stored: Stored
) -> list[str]:
    """What of the replica is not as the table says."""
    expected, sent = sample.expected[leg], sample.sent
    assert isinstance(expected, Arrives)
    ours = {"s3sync-etag": stored.etag, "s3sync-modified": stored.modified}
    if stored.version_id:
        ours["s3sync-version"] = stored.version_id
    if leg in _REWRITES and key != LEGS[leg].destination_prefix + sample.key:
        ours["s3sync-key"] = replica.metadata.get("s3sync-key", "(none)")
    wanted = Replica(
        crc64=str(CRC64.calc(sent.body)),
        size_bytes=len(sent.body),
        headers=sent.headers if expected.headers is None else expected.headers,
        metadata={**(sent.metadata if expected.metadata is None else expected.metadata), **ours},
        tags=sent.tags if expected.tags is None else expected.tags,
        storage_class=expected.storage_class,
        acl=LEGS[leg].acl,
        encryption=LEGS[leg].encryption,
    )
    problems = [
        f"{sample.name}: {name} is {is_!r}, not {was!r}"
        for name, was in vars(wanted).items()
        if (is_ := getattr(replica, name)) != was
    ]
    if leg in _REWRITES and not sample.is_mapped_by_s3:
        back = (
            original_key(key, replica.metadata),
            original_metadata(replica.metadata),
            original_content_headers(replica.headers, replica.metadata),
        )
        if back != (LEGS[leg].destination_prefix + sample.key, sent.metadata, sent.headers):
            problems.append(f"{sample.name}: leads back to {back}")
    return problems
