"""Refuse to release what can't be traced: see `make release-check`.

python -m security.release      checks the image's base; prints how to find a digest
"""

import re
import sys
from pathlib import Path

from security.pins import REPOSITORY

DOCKERFILE = REPOSITORY / "Dockerfile"
_BASE = re.compile(r"^ARG BASE=(\S+)$", re.MULTILINE)
_BY_DIGEST = re.compile(r"^[\w./:-]+@sha256:[0-9a-f]{64}$")


def base_problem(dockerfile: str) -> str | None:
    """What is wrong with the base of a Dockerfile's images, in an operator's words."""
    bases = _BASE.findall(dockerfile)
    stages = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    if len(bases) != 1 or set(stages) != {"${BASE}"}:
        return "Each FROM of the Dockerfile must be ${BASE}, and one ARG BASE must say what it is."
    base = bases[0]
    if not _BY_DIGEST.match(base):
        return (
            f"The image's base, {base}, has no digest, so each build may get another one. Run "
            f"`docker buildx imagetools inspect {base}`, and write ARG BASE={base}@sha256:<digest> "
            "into the Dockerfile."
        )
    return None


def main() -> None:
    dockerfile = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCKERFILE
    if problem := base_problem(dockerfile.read_text(encoding="utf-8")):
        sys.exit(f"ERROR: {problem}")


if __name__ == "__main__":
    main()
