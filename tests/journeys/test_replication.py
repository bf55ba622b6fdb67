"""From an object in S3 to its replica in OSS, with all real parts, in one process."""

import hashlib

import pytest

from replication.models import Job, JobState, Outcome
from tests.support.road import Road, work

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_object_put_into_s3_appears_in_oss_with_its_headers_and_metadata(road: Road) -> None:
    road.put(
        "photos/red flower+1.jpg",
        b"jpeg",
        ContentType="image/jpeg",
        CacheControl="max-age=60",
        ContentDisposition='attachment; filename="a.jpg"',
        ContentEncoding="gzip",
        ContentLanguage="zh-CN",
        Metadata={"taken-by": "someone"},
    )
    work()
    replica = road.replicas.get_object(
        "photos/red flower+1.jpg", headers={"Accept-Encoding": "gzip"}
    )
    assert replica.resp.response.raw.read() == b"jpeg"
    assert replica.headers["Content-Type"] == "image/jpeg"
    assert replica.headers["Cache-Control"] == "max-age=60"
    assert replica.headers["Content-Disposition"] == 'attachment; filename="a.jpg"'
    assert replica.headers["Content-Encoding"] == "gzip"
    assert replica.headers["Content-Language"] == "zh-CN"
    assert replica.headers["x-oss-meta-taken-by"] == "someone"
    assert replica.headers["x-oss-meta-s3sync-etag"] == hashlib.md5(b"jpeg").hexdigest()
    job = Job.objects.get()
    assert (job.state, job.outcome, job.size_bytes) == (JobState.COMPLETED, Outcome.COPIED, 4)
    assert job.source_crc64 == job.destination_crc64 != ""
    assert job.source_etag == hashlib.md5(b"jpeg").hexdigest()
    assert job.source_request_id
    assert job.destination_request_id
