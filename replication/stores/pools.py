"""Connection pools with the door, limits, proxies and certificate authorities of the settings."""

import os
import ssl

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from replication.stores.transport import Door, Limits, Pool, tls_context


def new_pool(
    *,
    kept_at_most: int | None = None,
    long_poll_seconds: float = 0,
    opens_vpc: bool = True,
) -> Pool:
    """Return a pool of its own. Its connections pass the door.

    Args:
        kept_at_most: how many idle connections to keep; by default as many as a lane needs.
        long_poll_seconds: how long a server may hold an answer back, as in a long poll; added to
            the time limits.
        opens_vpc: see Door.
    """
    given = settings.S3SYNC
    limits = Limits(
        connect_seconds=given.connect_timeout_seconds,
        read_seconds=given.read_timeout_seconds + long_poll_seconds,
        exchange_seconds=given.exchange_seconds + long_poll_seconds,
        least_bytes_per_second=given.least_bytes_per_second,
    )
    return Pool(
        limits=limits,
        kept_at_most=kept_at_most or given.max_connections,
        tls=trusted_tls(),
        door=door(opens_vpc=opens_vpc),
    )


def door(*, opens_vpc: bool = True) -> Door:
    """The door that the settings ask for. The environment decides what it lets out, and nobody who
    edits rules."""
    return Door(
        private_networks=settings.S3SYNC.private_networks,
        plain_http_hosts=settings.S3SYNC.plain_http_hosts,
        opens_vpc=opens_vpc,
    )


def trusted_tls() -> ssl.SSLContext:
    """The TLS settings with the trusted authorities.

    These are the public ones, or as in boto3 those of AWS_CA_BUNDLE; and S3SYNC_CA_BUNDLE's.

    Raises:
        ImproperlyConfigured: a file can't be read, or has no certificates.
    """
    try:
        return tls_context(
            os.environ.get("AWS_CA_BUNDLE", ""), str(settings.S3SYNC.ca_bundle or "")
        )
    except OSError as error:
        raise ImproperlyConfigured(
            f"AWS_CA_BUNDLE or S3SYNC_CA_BUNDLE names a file that can't be used: {error}"
        ) from error
