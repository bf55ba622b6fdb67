"""Asks S3 to restore an archived object."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from replication.errors import ErrorCode, ReplicationError
from replication.stores.s3.errors import raise_translated
from replication.stores.transport.fibers import run_blocking

# S3's error codes for a restore of an object that is being restored already, or is not archived.
_NOTHING_TO_RESTORE_CODES = {"RestoreAlreadyInProgress", "ObjectAlreadyInActiveTierError"}


def request_restore(
    client: Any, place: Mapping[str, str], *, days: int, tier: str, returns_to_its_tier: bool
) -> int | None:
    """Ask for the restore; see SourceStore.

    Args:
        place: boto3's arguments that name the object, and who pays.
        returns_to_its_tier: the object is in an archive tier of INTELLIGENT_TIERING. S3 brings it
            back to the frequent access tier, and refuses a number of days.
    """
    request: dict[str, Any] = {"GlacierJobParameters": {"Tier": tier}}
    if not returns_to_its_tier:
        request["Days"] = days
    try:
        run_blocking(partial(client.restore_object, **place, RestoreRequest=request))
    except ClientError as error:
        code = error.response["Error"].get("Code")
        if code == "InvalidArgument":  # DEEP_ARCHIVE has no Expedited, for example
            detail = f"S3 refuses a restore with the tier {tier}: {error}"
            raise ReplicationError(ErrorCode.SOURCE_REFUSED, detail) from error
        if code not in _NOTHING_TO_RESTORE_CODES:
            raise_translated(error)
    except BotoCoreError as error:
        raise_translated(error)
    return None if returns_to_its_tier else days
