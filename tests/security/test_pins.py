"""Only wheels with known hashes are installed, wherever something is installed."""

import ast
import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from security import pins
from tests.support.paths import REPOSITORY

PIP = re.compile(r"(?<![\w-])pip(?![\w-])[^\n]*?\b(install|download|wheel)\b")
CHANGELOG = "CHANGELOG.md"  # it tells of the past


def kept_wheels() -> dict[str, tuple[str, str]]:
    """Name → version and SHA-256 of each wheel that the repository keeps."""
    found = {}
    for wheel in pins.WHEELS.glob("*.whl"):
        name, version, *tags = wheel.stem.split("-")
        assert tags == ["py3", "none", "any"], f"{wheel.name} does not run everywhere"
        found[name.replace("_", "-")] = (version, hashlib.sha256(wheel.read_bytes()).hexdigest())
    return found


def words_of_calls(source: str) -> list[str]:
    """The strings of each call in Python, on one line."""
    return [
        " ".join(
            word.value.replace("\n", " ")
            for word in ast.walk(call)
            if isinstance(word, ast.Constant) and isinstance(word.value, str)
        )
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
    ]


def commands() -> list[tuple[str, str]]:
    """Each call of pip in a tracked file, with the file's name, its lines joined."""
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    found = []
    for name in tracked.stdout.splitlines():
        path = REPOSITORY / name
        is_text = path.suffix in {"", ".md", ".py", ".sh", ".yaml", ".yml", ".toml"}
        if not is_text or not path.is_file() or name.startswith("tests/") or name == CHANGELOG:
            continue
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        if path.suffix == ".py":
            text = "\n".join(words_of_calls(text))
        if name == "Makefile":
            options = re.search(r"^INSTALL := (.+)$", text, re.MULTILINE)
            assert options
            text = text.replace("$(INSTALL)", options[1])
        found += [(name, line) for line in text.splitlines() if PIP.search(line)]
    return found


@pytest.mark.parametrize("path", pins.files(), ids=lambda path: path.name)
def test_every_requirement_has_a_version_and_hashes(path: Path) -> None:
    assert list(pins.read(path))


def test_a_requirement_without_a_hash_is_refused(tmp_path: Path) -> None:
    loose = tmp_path / "loose.txt"
    loose.write_text(pins.IMAGE.read_text() + "loose==1.0\n")
    with pytest.raises(ValueError, match=r"loose\.txt.*loose==1\.0"):
        list(pins.read(loose))


@pytest.mark.parametrize("path", pins.files(), ids=lambda path: path.name)
def test_source_distributions_are_installed_from_nowhere(path: Path) -> None:
    if path != pins.SOURCES:
        assert "--only-binary :all:" in path.read_text().splitlines()


def test_what_has_no_wheel_is_installed_from_the_wheels_that_are_kept_here() -> None:
    kept = kept_wheels()
    assert {name: version for name, (version, _) in kept.items()} == {
        pin.name: pin.version for pin in pins.read(pins.SOURCES)
    }, "run `make wheels`"
    for path in set(pins.files()) - {pins.SOURCES}:
        for pin in pins.read(path):
            if pin.name in kept:
                assert (pin.version, *pin.sha256) == kept[pin.name], "run `make requirements`"


def test_every_call_of_pip_demands_hashes_and_takes_no_source_distribution() -> None:
    found = commands()
    assert {name for name, _ in found} >= {"Makefile", "Dockerfile", "README.md", "sandbox/aws.py"}
    for name, command in found:
        assert "--require-hashes" in command, (name, command)
        if "--no-binary" in command:  # the one place that builds: with pinned tools alone
            assert name == "Makefile"
            assert "--no-build-isolation" in command
            assert "requirements/sdists.txt" in command
        elif name in {"Makefile", "Dockerfile"} or name.startswith("sandbox/"):
            assert re.search(r"--only-binary[ =]:all:", command), (name, command)
        else:  # an operator's: the file of pins says it
            assert re.search(r"-r requirements(/\w+)?\.txt", command), (name, command)
            assert "--find-links requirements/wheels" in command, (name, command)


def test_the_image_has_all_that_its_installation_reads() -> None:
    """Docker sees only what .dockerignore lets through."""
    let_through = (REPOSITORY / ".dockerignore").read_text().split()
    copied = re.findall(r"^COPY (?!--from)(\S+)", (REPOSITORY / "Dockerfile").read_text(), re.M)
    assert {"requirements.txt", "requirements/wheels"} <= set(copied)
    assert {f"!{path}" for path in copied} <= set(let_through)
