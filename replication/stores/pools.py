"""Connection pools with the limits, proxies and certificate authorities of the settings."""

import os
import ssl

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from replication.stores.transport import Limits, Pool, tls_context
from replication.stores.transport.connecting import Addresses


def new_pool(
    *,
    kept_at_most: int | None = None,
    long_poll_seconds: float = 0,
    addresses: Addresses | None = None,
) -> Pool:
    """Return a pool of its own.

    Args:
        kept_at_most: how many idle connections to keep; by default as many as a lane needs.
        long_poll_seconds: how long a server may hold an answer back, as in a long poll; added to
            the time limits.
        addresses: see Pool.
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
        addresses=addresses,
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
