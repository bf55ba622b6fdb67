"""Pytest plugin, loaded before Django's settings: sets the environment variables that the tests
rely on, and starts a PostgreSQL for the run unless DATABASE_URL is set."""

import os
from contextlib import ExitStack

import pytest

from sandbox.ministack import MiniStack
from sandbox.postgres import Postgres

OSS_KEY_ID = "test-writer"
OSS_KEY_SECRET = "a secret that guards nothing"
API_TOKEN = "a-token-for-tests-only"
LAMBDA_KEY = "a-key-of-the-lambda-function-for-tests-only"
NEXT_LAMBDA_KEY = "the-key-that-comes-after-it-for-tests-only"

_resources = ExitStack()

# Remove the developer's own settings, so that every run has the same environment.
for _name in list(os.environ):
    if _name.startswith(("S3SYNC_", "AWS_", "OSS_", "ALIBABA_")) or _name.lower().endswith(
        "_proxy"
    ):
        del os.environ[_name]

os.environ.update(
    S3SYNC_SECRET_KEY="a key for tests that guards nothing at all",
    S3SYNC_API_TOKENS=API_TOKEN,
    S3SYNC_LAMBDA_KEYS=f"{LAMBDA_KEY},{NEXT_LAMBDA_KEY}",
    S3SYNC_API_CALLS_PER_SECOND="0",  # no limit
    S3SYNC_ALLOWED_HOSTS="*",
    S3SYNC_PRIVATE_NETWORKS="127.0.0.0/8",
    S3SYNC_TRUSTED_ENDPOINTS="*",
    AWS_ACCESS_KEY_ID=MiniStack.access_key_id,
    AWS_SECRET_ACCESS_KEY=MiniStack.secret_access_key,
    OSS_ACCESS_KEY_ID=OSS_KEY_ID,
    OSS_ACCESS_KEY_SECRET=OSS_KEY_SECRET,
    ALIBABA_CLOUD_ECS_METADATA_DISABLED="true",  # no test asks the machine that it runs on
)
# With xdist, each worker imports this module too, but inherits the controller's DATABASE_URL.
if "DATABASE_URL" not in os.environ:
    os.environ["DATABASE_URL"] = _resources.enter_context(Postgres(fsync=False)).url


def pytest_unconfigure(config: pytest.Config) -> None:
    _resources.close()
