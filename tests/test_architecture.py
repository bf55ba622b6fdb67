"""The tree has the rooms of docs/architecture.md; `make check` refuses an import up the road."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

# Beside the rooms, replication/ has only what Django names.
DJANGO_NAMES = {"migrations", "static", "templatetags"}
FILES = {"__init__.py", "apps.py", "checks.py", "errors.py", "tasks.py"}


def contract() -> dict[str, list[str]]:
    """The layers of the contract in pyproject.toml, and what it leaves out."""
    tools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]
    [layers] = [
        each
        for each in tools["importlinter"]["contracts"]
        if each["type"] == "layers" and each["containers"] == ["replication"]
    ]
    assert layers["exhaustive"] is True
    names = {name for layer in layers["layers"] for name in re.split(r"[|:\s]+", layer)}
    return {"rooms": sorted(names), "ignored": layers["exhaustive_ignores"]}


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != "__pycache__"}


def rooms() -> set[str]:
    return {
        path.name
        for path in (REPOSITORY / "replication").iterdir()
        if path.is_dir() and path.name not in {*DJANGO_NAMES, "__pycache__"}
    }


def test_replication_has_rooms_and_nothing_else() -> None:
    assert entries(REPOSITORY / "replication") == rooms() | DJANGO_NAMES | FILES
    known = set(contract()["rooms"]) | set(contract()["ignored"])
    modules = {name.removesuffix(".py") for name in FILES} - {"__init__"}
    assert known == rooms() | modules | {"migrations", "templatetags"}


def test_the_document_describes_every_room_and_every_package_of_a_room() -> None:
    document = (REPOSITORY / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:[a-z0-9_]+/)+)`", document))
    packages = {
        f"{path.relative_to(REPOSITORY / 'replication')}/"
        for path in (REPOSITORY / "replication").rglob("*")
        if path.is_dir() and (path / "__init__.py").exists()
    } - {"migrations/", "templatetags/", "management/commands/"}
    assert packages <= named, "docs/architecture.md does not name these packages"
    top = {path.name for path in REPOSITORY.iterdir()}
    gone = {
        name
        for name in named
        if not (REPOSITORY / "replication" / name).is_dir() and name.split("/")[0] not in top
    }
    assert not gone, "docs/architecture.md names packages that don't exist"


def test_every_module_that_the_documents_name_exists() -> None:
    """`jobs/claiming.py` in prose is a path below replication/ or the repository."""
    missing = [
        (document.name, name)
        for document in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]
        if document.name != "CHANGELOG.md"  # it tells of the past
        for name in re.findall(r"`([a-z0-9_/]+/[a-z0-9_]+\.py)`", document.read_text())
        if not (REPOSITORY / "replication" / name).exists() and not (REPOSITORY / name).exists()
    ]
    assert not missing


def test_the_tests_mirror_the_rooms() -> None:
    """A room without tests of its own is one whose tests lie where nobody looks."""
    untested = {"management"}  # a command is tested with the tool that it runs
    assert rooms() - untested <= entries(REPOSITORY / "tests")


@pytest.fixture(scope="module")
def copy_of_the_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("tree")
    without = shutil.ignore_patterns("__pycache__")
    for name in ("replication", "s3sync", "sandbox"):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=without)
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    return copy


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )


FORBIDDEN = {
    "the queue imports a lane": ("jobs/claiming.py", "from replication.worker.lane import Lane"),
    "a transfer imports the queue": ("transfer/object.py", "from replication import jobs"),
    "one store imports another": (
        "stores/s3/store.py",
        "from replication.stores.oss.store import OssStore",
    ),
    "the transport imports the errors": (
        "stores/transport/pool.py",
        "from replication.errors import ErrorCode",
    ),
    "a worker imports the intake beside it": (
        "worker/lane.py",
        "from replication.intake.matching import look_again",
    ),
    "a module is in no room": ("helpers.py", '"""In no room."""'),
}


@pytest.mark.parametrize("case", FORBIDDEN)
def test_the_contract_refuses(copy_of_the_tree: Path, case: str) -> None:
    name, line = FORBIDDEN[case]
    module = copy_of_the_tree / "replication" / name
    before = module.read_text() if module.exists() else None
    module.write_text(f"{before or ''}\n{line}\n")
    try:
        checked = lint_imports(copy_of_the_tree)
    finally:
        module.unlink() if before is None else module.write_text(before)
    assert checked.returncode == 1, checked.stdout
    assert "BROKEN" in checked.stdout


def test_the_contract_holds_for_the_tree_as_it_is(copy_of_the_tree: Path) -> None:
    checked = lint_imports(copy_of_the_tree)
    assert checked.returncode == 0, checked.stdout
