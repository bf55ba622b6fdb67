"""Checks of endpoints and identities, on which all other checks of a rule depend."""

from urllib.parse import urlsplit

from replication.errors import ReplicationError
from replication.models import Destination, EventQueue, Source
from replication.stores.credentials import DEFAULT_PROFILE, access_key
from replication.stores.factory import destination_store
from replication.stores.oss import credentials as oss_credentials
from replication.tools.doctor import aws
from replication.tools.doctor.aws import Refusal, RefusalReason
from replication.tools.doctor.findings import (
    Check,
    Findings,
    failed,
    from_error,
    mistaken,
    passed,
    unknown,
    warned,
)
from replication.tools.doctor.reachability import check_reachability
from replication.tools.provisioning import ProvisioningError
from replication.tools.provisioning.arns import queue_address


def check_source_endpoint(source: Source) -> Findings:
    """Check the address of S3, or of the server that the source names as its endpoint."""
    wrong = {name: text for name, text in source.mistakes.items() if name != "bucket"}
    if wrong:
        yield from mistaken(wrong, of="source")
        return
    try:
        url = aws.s3_url(source)
    except Refusal as refusal:
        if refusal.reason is RefusalReason.CREDENTIALS:
            yield unknown(Check.ADDRESS, f"boto3 can't make a client for S3: {refusal}")
            return
        yield failed(
            Check.ADDRESS,
            f"boto3 knows no address of S3 in the region {source.region!r}: {refusal}",
            fix="Set the source's region to a region of AWS, such as ap-east-1.",
        )
        return
    yield from check_reachability(url)


def check_queue_endpoint(row: EventQueue) -> Findings:
    """Check the address of SQS that the queue's URL names."""
    if row.mistakes:
        yield from mistaken(row.mistakes, of="queue")
        return
    try:
        queue_address(row.url, region=row.region, name=row.name)
    except ProvisioningError as error:
        yield failed(Check.ADDRESS, error.what, fix=error.hint)
        return
    yield from check_reachability(row.url)


def check_destination_endpoint(destination: Destination) -> Findings:
    """Check that endpoint, region and addressing fit each other; then that OSS is reachable."""
    wrong = {name: text for name, text in destination.mistakes.items() if name != "bucket"}
    if wrong:
        yield from mistaken(wrong, of="destination")
        return
    address = urlsplit(destination.endpoint)
    host = address.hostname or ""
    if host.endswith(".aliyuncs.com") and address.scheme == "http":
        yield warned(
            Check.ADDRESS,
            f"{destination.endpoint} is not encrypted: anyone on the network path can read the "
            "objects",
            fix=f"Set the destination's endpoint to https://{address.netloc}.",
        )
    yield from check_reachability(destination.endpoint)


def check_aws_identity(profile: str, *, region: str, is_aws: bool) -> Findings:
    """Check which identity a credential profile has in AWS.

    Args:
        is_aws: whether the profile is used with AWS itself, not with another provider's S3 or SQS.
    """
    try:
        if not is_aws and aws.sts_is_aws(region):
            # The profile's keys are another provider's: AWS does not know them and must not see
            # them.
            access_key(profile)
            yield unknown(
                Check.CREDENTIALS,
                f"profile {profile!r} is used; only AWS can tell whose identity it has",
            )
            return
        arn = aws.caller_arn(profile=profile, region=region)
    except ReplicationError as error:
        yield from_error(Check.CREDENTIALS, error)
    except Refusal as refusal:
        if refusal.reason is RefusalReason.CREDENTIALS:
            yield failed(
                Check.CREDENTIALS,
                f"AWS accepts no credentials of profile {profile!r}: {refusal}",
                fix=_aws_fix(profile),
            )
        else:
            yield unknown(
                Check.CREDENTIALS,
                f"STS does not tell whose identity profile {profile!r} has: {refusal}",
                fix="Nothing to do unless a check below fails: only doctor asks STS, except where "
                "a role is assumed.",
            )
    else:
        yield passed(Check.CREDENTIALS, f"profile {profile!r} is {arn}")


def check_oss_identity(destination: Destination) -> Findings:
    """Check which access key or role signs for OSS. The first write shows whether OSS knows it."""
    profile = destination.credential_profile
    if destination.mistakes:
        yield from mistaken(destination.mistakes, of="destination")
        return
    try:
        whose = oss_credentials.whose(profile)
        destination_store(destination)
    except ReplicationError as error:
        yield from_error(Check.CREDENTIALS, error)
    else:
        yield passed(Check.CREDENTIALS, f"profile {profile!r} is {whose}")


def _aws_fix(profile: str) -> str:
    if profile == DEFAULT_PROFILE:
        return (
            "Attach a role to this host, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and "
            "AWS_SESSION_TOKEN with a temporary key) as the service has them; or name another "
            "credential profile (docs/guides/credentials.md)."
        )
    return (
        f"Put the right access key behind the credential profile {profile!r}; if it has a "
        "role_arn, let that role trust the key's user (docs/guides/credentials.md)."
    )
