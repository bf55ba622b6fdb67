"""Compare all pins and vendored libraries with the kept list of advisories, without the internet.

python -m security.advisories            as in `make check`: an old list is a warning
python -m security.advisories --release  an old list, or a package that was never looked up, fails
"""

import argparse
import json
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from security import pins, vendored

ADVISORIES = Path(__file__).with_name("advisories.json")
JUDGED = Path(__file__).with_name("judged.toml")
STALE_AFTER_DAYS = 30


@dataclass(frozen=True)
class Package:
    """One version of a package that is installed somewhere, and where it comes from."""

    name: str
    version: str
    origin: str = ""
    registry: str = "pypi"
    is_shipped: bool = True  # in the image or its extras, and not only in tools and tests

    @property
    def id(self) -> str:
        return f"{self.registry}:{self.name} {self.version}"

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.origin})"


@dataclass(frozen=True)
class Advisory:
    """What is known against one version of a package."""

    id: str
    package: str
    version: str
    summary: str
    aliases: tuple[str, ...] = ()
    fixed_in: tuple[str, ...] = ()
    registry: str = "pypi"

    @property
    def names(self) -> set[str]:
        return {self.id, *self.aliases}


@dataclass(frozen=True)
class AdvisoryList:
    """The advisories against the versions that were looked up on `date`."""

    date: date
    source: str
    looked_up: frozenset[str]  # Package.id
    advisories: tuple[Advisory, ...]

    @classmethod
    def read(cls, path: Path) -> "AdvisoryList":
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            date=date.fromisoformat(kept["date"]),
            source=kept["source"],
            looked_up=frozenset(kept["looked_up"]),
            advisories=tuple(_advisory(each) for each in kept["advisories"]),
        )


def _advisory(kept: dict[str, Any]) -> Advisory:
    lists = {name: tuple(kept.get(name, ())) for name in ("aliases", "fixed_in")}
    return Advisory(**{**kept, **lists})


@dataclass(frozen=True)
class Judgement:
    """A person's reason why advisories do no harm here, which ends after the day `until`."""

    ids: tuple[str, ...]  # or aliases
    package: str
    version: str
    why: str
    until: date


@dataclass
class Report:
    """What was found; each line says what to do."""

    heading: str
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def installed() -> list[Package]:
    """All that any file of pins installs, and what is vendored inside of it, each once."""
    shipped = {(pin.name, pin.version) for pin in pins.read(pins.IMAGE_AND_EXTRAS)}
    found: dict[str, Package] = {}
    for path in (pins.IMAGE, pins.IMAGE_AND_EXTRAS, *pins.files()):
        for pin in pins.read(path):
            package = Package(
                pin.name,
                pin.version,
                origin=path.relative_to(pins.REPOSITORY).as_posix(),
                is_shipped=(pin.name, pin.version) in shipped,
            )
            found.setdefault(package.id, package)
    for library in vendored.libraries():
        package = Package(
            library.name,
            library.version,
            origin=f"inside of {library.inside}",
            registry=library.registry,
        )
        found[package.id] = package
    return sorted(found.values(), key=lambda each: each.id)


def judgements(path: Path) -> list[Judgement]:
    """Raises TypeError if one lacks a field, and ValueError if `until` is no date."""
    found = [
        Judgement(**{**each, "ids": tuple(each["ids"])})
        for each in tomllib.loads(path.read_text()).get("judged", [])
    ]
    for each in found:
        if type(each.until) is not date:
            raise ValueError(f"{path.name}: `until` of {each.ids} must be a date like 2027-06-30")
    return found


def compare(
    packages: Iterable[Package],
    kept: AdvisoryList,
    judged: Iterable[Judgement],
    *,
    today: date,
    release: bool,
) -> Report:
    """The report of `packages`. For a release, doubts are errors."""
    age = (today - kept.date).days
    report = Report(f"Advisories of {kept.date}, {age} days old ({kept.source}).")
    packages, judged = list(packages), list(judged)
    passed: dict[tuple[str, date], list[str]] = {}
    needed: set[tuple[str, str, str]] = set()
    for package in packages:
        for advisory in _against(package, kept):
            judgement = _judgement(advisory, judged)
            needed |= {(each, advisory.package, advisory.version) for each in advisory.names}
            problem = f"{advisory.id}: {package}: {advisory.summary}"
            if judgement is None:
                report.errors.append(f"{problem} {_remedy(advisory)}")
            elif judgement.until < today:
                report.errors.append(
                    f"{problem} The judgement ended on {judgement.until}: look again, then "
                    f"{_remedy(advisory, start='raise')}"
                )
            else:
                passed.setdefault((str(package), judgement.until), []).append(advisory.id)
    for judgement in judged:
        report.warnings += [
            f"The judgement of {each} for {judgement.package} {judgement.version} is no longer "
            "needed: remove it from security/judged.toml."
            for each in judgement.ids
            if (each, judgement.package, judgement.version) not in needed
        ]
    report.notes = [
        f"{package}: judged until {until}: {', '.join(ids)}"
        for (package, until), ids in passed.items()
    ]
    doubts = report.errors if release else report.warnings
    if age > STALE_AFTER_DAYS:
        doubts.append(f"The list is over {STALE_AFTER_DAYS} days old: run `make advisories`.")
    doubts += _never_looked_up(packages, kept, release=release)
    return report


def _against(package: Package, kept: AdvisoryList) -> Iterator[Advisory]:
    for advisory in kept.advisories:
        if (advisory.registry, advisory.package, advisory.version) == (
            package.registry,
            package.name,
            package.version,
        ):
            yield advisory


def _judgement(advisory: Advisory, judged: Iterable[Judgement]) -> Judgement | None:
    for judgement in judged:
        if (
            advisory.names & set(judgement.ids)
            and judgement.package == advisory.package
            and judgement.version == advisory.version
        ):
            return judgement
    return None


def _remedy(advisory: Advisory, start: str = "Raise") -> str:
    fixed = f" to {' or '.join(advisory.fixed_in)}" if advisory.fixed_in else ""
    return f"{start} it{fixed}, or judge it in security/judged.toml."


def _never_looked_up(packages: list[Package], kept: AdvisoryList, *, release: bool) -> list[str]:
    """One line, or none. A release only asks for what is shipped and can be looked up."""
    unknown = [
        package
        for package in packages
        if package.id not in kept.looked_up
        and (not release or (package.is_shipped and package.registry == "pypi"))
    ]
    if not unknown:
        return []
    names = ", ".join(f"{package.name} {package.version}" for package in unknown[:5])
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return [
        f"{len(unknown)} of {len(packages)} packages were never looked up, so nothing is known of "
        f"them: {names}{more}. Run `make advisories` where pypi.org's JSON API answers."
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", action="store_true")
    parser.add_argument("--advisories", type=Path, default=ADVISORIES)
    parser.add_argument("--judged", type=Path, default=JUDGED)
    arguments = parser.parse_args()
    report = compare(
        installed(),
        AdvisoryList.read(arguments.advisories),
        judgements(arguments.judged),
        today=datetime.now(UTC).date(),
        release=arguments.release,
    )
    lines = [report.heading]
    lines += [f"  {line}" for line in report.notes]
    lines += [f"WARNING: {line}" for line in report.warnings]
    lines += [f"ERROR: {line}" for line in report.errors]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.exit(bool(report.errors))


if __name__ == "__main__":
    main()
