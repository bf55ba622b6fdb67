"""Nothing is released from a base image that a tag alone names."""

import re

import pytest

from security import release

DOCKERFILE = release.DOCKERFILE.read_text()
DIGEST = "sha256:" + "0123456789abcdef" * 4


def with_base(base: str) -> str:
    text, count = re.subn(r"^ARG BASE=.*$", f"ARG BASE={base}", DOCKERFILE, flags=re.M)
    assert count == 1
    return text


def test_a_base_by_digest_passes() -> None:
    assert release.base_problem(with_base(f"python:3.11-slim-bookworm@{DIGEST}")) is None
    assert release.base_problem(with_base(f"registry.example:5000/python@{DIGEST}")) is None


@pytest.mark.parametrize(
    "base", ["python:3.11-slim-bookworm", f"python@{DIGEST[:-1]}", "python@sha256:<digest>"]
)
def test_a_base_without_a_digest_is_refused_and_it_is_said_how_to_find_one(base: str) -> None:
    problem = release.base_problem(with_base(base))
    assert problem
    assert f"docker buildx imagetools inspect {base}" in problem


def test_a_stage_on_another_base_is_refused() -> None:
    problem = release.base_problem(with_base(f"python@{DIGEST}") + "\nFROM debian\n")
    assert problem
    assert "FROM" in problem
