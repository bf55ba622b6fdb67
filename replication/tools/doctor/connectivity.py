"""The way to each place, and as whom we come: what everything else of a rule stands on."""

import re
from urllib.parse import urlsplit

from replication.errors import ReplicationError
from replication.models import Addressing, Destination, EventQueue, Source
from replication.stores.credentials import DEFAULT_PROFILE, access_key
from replication.stores.factory import destination_store
from replication.tools.doctor import aws
from replication.tools.doctor.aws import Refusal, Why
from replication.tools.doctor.findings import (
    Check,
    Findings,
    failed,
    from_error,
    passed,
    unknown,
    warned,
)
from replication.tools.doctor.reachability import knock
from replication.tools.provisioning import ProvisioningError
from replication.tools.provisioning.arns import queue_address

# https://help.aliyun.com/document_detail/31837.html; those of acceleration name no region.
_OSS_HOST = re.compile(r"oss-(?!accelerate)([a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com")
_SQS_HOST = re.compile(r"sqs\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")

# Enough of an access key's id to know it by; it is no secret, but a report is passed around.
_SHOWN_CHARACTERS = 4


def way_to_source(source: Source) -> Findings:
    """To S3, or to what the source's endpoint says is S3."""
    try:
        url = aws.s3_url(source)
    except Refusal as refusal:
        if refusal.why is Why.CREDENTIALS:
            yield unknown(Check.ADDRESS, f"boto3 is not set up: {refusal}")
            return
        yield failed(
            Check.ADDRESS,
            f"no address of S3 is known for the region {source.region!r}: {refusal}",
            fix="Set the source's region to one of AWS's, such as ap-east-1.",
        )
        return
    yield from knock(url, proxied=True)


def way_to_queue(row: EventQueue) -> Findings:
    """To SQS, where the queue's URL says that it is."""
    try:
        queue_address(row.url, region=row.region, name=row.name)
    except ProvisioningError as error:
        yield failed(Check.ADDRESS, error.what, fix=error.hint)
        return
    named = _SQS_HOST.fullmatch(urlsplit(row.url).hostname or "")
    if named and named[1] != row.region:
        yield failed(
            Check.ADDRESS,
            f"the queue's URL is in {named[1]}, and its region is set to {row.region}",
            fix=f"Set the queue's region to {named[1]}, or correct its URL.",
        )
        return
    yield from knock(row.url, proxied=True)


def way_to_destination(destination: Destination) -> Findings:
    """To OSS: whether endpoint, region and addressing fit each other, then the way there."""
    place = urlsplit(destination.endpoint)
    host = place.hostname or ""
    named = _OSS_HOST.fullmatch(host)
    if named and named[1] != destination.region:
        yield failed(
            Check.ADDRESS,
            f"the endpoint {host} is in {named[1]}, and the region is set to {destination.region}",
            fix=f"Set the destination's region to {named[1]}, or the endpoint to that of "
            f"{destination.region}: V4 signatures are of one region.",
        )
        return
    if host.endswith(".aliyuncs.com") and destination.addressing != Addressing.VIRTUAL_HOST:
        yield failed(
            Check.ADDRESS,
            f"{host} is OSS's own address, and the addressing is set to '{destination.addressing}'",
            fix="Set the destination's addressing to 'virtual_host'; or, for a custom domain, set "
            "the endpoint to that domain, which must be bound to the bucket.",
        )
        return
    if host.endswith(".aliyuncs.com") and place.scheme == "http":
        yield warned(
            Check.ADDRESS,
            f"{destination.endpoint} is not encrypted: everybody on the way can read the objects",
            fix=f"Set the destination's endpoint to https://{place.netloc}.",
        )
    yield from knock(destination.endpoint, proxied=False)  # oss2's session looks for no proxy


def as_whom_in_aws(profile: str, *, region: str, is_of_aws: bool) -> Findings:
    """The identity behind a profile in AWS.

    Args:
        is_of_aws: whether the place that it is for is AWS's own.
    """
    try:
        if not is_of_aws and aws.sts_is_of_aws(region):
            # AWS does not know the users of another's S3, and their keys are not for it to see.
            access_key(profile)
            yield unknown(Check.CREDENTIALS, f"as profile {profile!r}; only AWS tells who that is")
            return
        arn = aws.caller_arn(profile=profile, region=region)
    except ReplicationError as error:
        yield from_error(Check.CREDENTIALS, error)
    except Refusal as refusal:
        if refusal.why is Why.CREDENTIALS:
            yield failed(
                Check.CREDENTIALS,
                f"AWS does not know us as profile {profile!r}: {refusal}",
                fix=_aws_fix(profile),
            )
        else:
            yield unknown(
                Check.CREDENTIALS,
                f"as profile {profile!r}; STS does not tell who that is: {refusal}",
                fix="Nothing, unless something below fails: STS is asked by doctor alone, except "
                "where a role is assumed.",
            )
    else:
        yield passed(Check.CREDENTIALS, f"profile {profile!r} is {arn}")


def as_whom_in_oss(destination: Destination) -> Findings:
    """The access key that OSS is asked with; whether OSS knows it is seen at the first write."""
    profile = destination.credential_profile
    try:
        key = access_key(profile)
        destination_store(destination)
    except ReplicationError as error:
        yield from_error(Check.CREDENTIALS, error)
    except ValueError as error:  # oss2 does not take the endpoint or the bucket's name
        yield failed(
            Check.ADDRESS,
            f"oss2 can't work with this destination: {error}",
            fix="Check the destination's bucket name and endpoint.",
        )
    else:
        whose = f"access key {_shown(key.id)}" if key else "OSS_ACCESS_KEY_ID of the environment"
        yield passed(Check.CREDENTIALS, f"profile {profile!r} is {whose}")


def _aws_fix(profile: str) -> str:
    if profile == DEFAULT_PROFILE:
        return (
            "Attach a role to this host, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and "
            "AWS_SESSION_TOKEN with a temporary key) as the service has them; or name another "
            "credential profile (docs/guides/credentials.md)."
        )
    return (
        f"Put the right access key behind the credential profile {profile!r}; with role_arn, let "
        "the role trust that key's user (docs/guides/credentials.md)."
    )


def _shown(key_id: str) -> str:
    if len(key_id) < 3 * _SHOWN_CHARACTERS:
        return key_id
    return f"{key_id[:_SHOWN_CHARACTERS]}…{key_id[-_SHOWN_CHARACTERS:]}"
