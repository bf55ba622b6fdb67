"""A bucket is asked what it takes: the stand-in answers as OSS documents, or takes more."""

from collections.abc import Callable

import pytest

from replication.errors import ErrorCode
from replication.models import Takes
from replication.stores.base import ReplicaAttributes
from replication.stores.oss.store import OssStore
from replication.stores.probe import Learned, ask_bucket
from sandbox.oss import Denial, Fault, OssServer
from tests.support.failing import failing

KEY = ".s3sync-key/probe/1"
PLAIN = ReplicaAttributes()
YES, NO, UNKNOWN = Takes.YES, Takes.NO, Takes.UNKNOWN


@pytest.mark.parametrize(("is_lenient", "takes"), [(False, NO), (True, YES)])
def test_a_bucket_says_what_it_takes_and_keeps_nothing(
    oss: OssServer, destination: OssStore, thread_or_fiber: str, is_lenient: bool, takes: Takes
) -> None:
    oss.set_lenient(is_lenient)
    assert ask_bucket(destination, KEY, PLAIN) == Learned(takes, takes)
    assert not oss.store.bucket("replica").objects
    keys = {entry.key for entry in oss.requests(bucket="replica")}
    assert keys == {KEY}


@pytest.mark.parametrize(
    ("action", "learned"),
    [
        ("oss:PutObjectTagging", Learned(YES, UNKNOWN)),
        ("oss:GetObjectTagging", Learned(YES, UNKNOWN)),
        ("oss:GetObject", Learned(UNKNOWN, UNKNOWN)),
        ("oss:DeleteObject", Learned(YES, YES)),
    ],
)
def test_what_may_not_be_found_out_stays_unknown(
    oss: OssServer, destination: OssStore, action: str, learned: Learned
) -> None:
    oss.set_lenient(True)
    oss.deny(Denial(actions=(action,)))
    assert ask_bucket(destination, KEY, PLAIN) == learned


def test_an_object_of_another_writer_is_no_answer(oss: OssServer, destination: OssStore) -> None:
    oss.set_lenient(True)
    oss.add_fault(Fault(operation="HeadObject", status=404, code="NoSuchKey", times=None))
    assert ask_bucket(destination, KEY, PLAIN) == Learned(UNKNOWN, UNKNOWN)


@pytest.mark.parametrize(
    ("break_it", "code"),
    [
        (lambda oss: oss.deny(Denial()), ErrorCode.DESTINATION_ACCESS_DENIED),
        (
            lambda oss: oss.add_fault(Fault(operation="PutObject", skip=1, status=500)),
            ErrorCode.DESTINATION_UNAVAILABLE,
        ),
        (  # the credentials ended in between, for a plain object too
            lambda oss: oss.add_fault(
                Fault(
                    operation="PutObject",
                    skip=1,
                    times=None,
                    status=403,
                    code="SecurityTokenExpired",
                )
            ),
            ErrorCode.DESTINATION_CREDENTIALS,
        ),
        (
            lambda oss: oss.add_fault(Fault(operation="HeadObject", status=500)),
            ErrorCode.DESTINATION_UNAVAILABLE,
        ),
    ],
)
def test_a_bucket_that_does_not_answer_has_answered_nothing(
    oss: OssServer, destination: OssStore, break_it: Callable[[OssServer], object], code: ErrorCode
) -> None:
    oss.set_lenient(True)
    break_it(oss)
    with failing(code):
        ask_bucket(destination, KEY, PLAIN)
    assert not oss.store.bucket("replica").objects
