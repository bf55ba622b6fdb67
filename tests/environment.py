"""Pytest plugin, loaded before Django's settings: a PostgreSQL for the run unless DATABASE_URL
names one, and the settings that the tests rely on."""

import os
from contextlib import ExitStack

import pytest

from sandbox.postgres import Postgres

_resources = ExitStack()

# Anything of the developer's own environment would make the run differ from everybody else's.
for _name in [n for n in os.environ if n.startswith(("S3SYNC_", "AWS_", "OSS_"))]:
    del os.environ[_name]

os.environ.update(
    S3SYNC_SECRET_KEY="a key for tests that guards nothing at all",
    S3SYNC_API_TOKENS="a-token-for-tests-only",
    S3SYNC_ALLOWED_HOSTS="*",
)
# With xdist this module is imported in each worker too; they inherit the controller's server.
if "DATABASE_URL" not in os.environ:
    os.environ["DATABASE_URL"] = _resources.enter_context(Postgres(fsync=False)).url


def pytest_unconfigure(config: pytest.Config) -> None:
    _resources.close()
