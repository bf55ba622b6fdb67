"""Look up every pin and vendored library with pip-audit, and write advisories.json anew.

python -m security.refresh --pip-audit PROGRAM [--service pypi|osv] [--osv-url URL]
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from security.advisories import ADVISORIES, Advisory, AdvisoryList, Package, installed

Answer = dict[str, Any]  # what pip-audit prints with --format json

_SUMMARY_CHARACTERS = 200


class NothingAnsweredError(Exception):
    """The service knows none of the packages: it is another service, or can't be reached."""


def groups(packages: Iterable[Package]) -> list[list[Package]]:
    """The packages that pip-audit can look up, with each name at most once in a group."""
    found: list[list[Package]] = []
    for package in packages:
        if package.registry == "pypi":
            for group in found:
                if all(package.name != other.name for other in group):
                    group.append(package)
                    break
            else:
                found.append([package])
    return found


def renewed(
    old: AdvisoryList,
    answers: Iterable[tuple[list[Package], Answer]],
    *,
    installed: Iterable[Package],
    source: str,
    today: date,
) -> AdvisoryList:
    """The list of today. What nobody answered for keeps its old advisories and stays unknown.

    Raises NothingAnsweredError if no package was answered for: pip-audit reports that as "no known
    vulnerabilities".
    """
    looked_up: set[str] = set()
    found: list[Advisory] = []
    for group, answer in answers:
        versions = {package.name: package for package in group}
        for each in answer["dependencies"]:
            if "skip_reason" not in each:
                package = versions[each["name"]]
                looked_up.add(package.id)
                found += [_advisory(package, vuln) for vuln in each["vulns"]]
    if not looked_up:
        raise NothingAnsweredError
    kept = [
        advisory
        for advisory in old.advisories
        for package in installed
        if package.id not in looked_up
        and (package.registry, package.name, package.version)
        == (advisory.registry, advisory.package, advisory.version)
    ]
    return AdvisoryList(
        date=today,
        source=source,
        looked_up=frozenset(looked_up),
        advisories=tuple({*found, *kept}),
    )


def as_text(listed: AdvisoryList) -> str:
    """JSON in a fixed order."""
    document = {
        "date": listed.date.isoformat(),
        "source": listed.source,
        "looked_up": sorted(listed.looked_up),
        "advisories": [
            dataclasses.asdict(each)
            for each in sorted(listed.advisories, key=lambda it: (it.package, it.version, it.id))
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _advisory(package: Package, vuln: Answer) -> Advisory:
    return Advisory(
        id=vuln["id"],
        package=package.name,
        version=package.version,
        summary=" ".join(vuln.get("description", "").split())[:_SUMMARY_CHARACTERS],
        aliases=tuple(sorted(vuln.get("aliases", []))),
        fixed_in=tuple(vuln["fix_versions"]),
    )


def _ask(group: list[Package], pip_audit: Path, options: list[str]) -> Answer:
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text("".join(f"{each.name}=={each.version}\n" for each in group))
        arguments = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
        arguments += ["--aliases", "on", "--desc", "on"]
        asked = subprocess.run(  # noqa: S603  # the program that the Makefile names
            [pip_audit, "-r", requirements, *arguments, *options],
            stdout=subprocess.PIPE,
            text=True,
            check=False,  # 1: there are advisories
        )
    try:
        answer: Answer = json.loads(asked.stdout)
    except ValueError:
        sys.exit("pip-audit gave no answer: what it said is above. The kept list is unchanged.")
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pip-audit", type=Path, required=True)
    parser.add_argument("--service", choices=["pypi", "osv"], default="pypi")
    parser.add_argument("--osv-url")
    parser.add_argument("--advisories", type=Path, default=ADVISORIES)
    arguments = parser.parse_args()
    options = ["--vulnerability-service", arguments.service]
    if arguments.osv_url:
        options += ["--osv-url", arguments.osv_url]
    packages = installed()
    try:
        listed = renewed(
            AdvisoryList.read(arguments.advisories),
            [(group, _ask(group, arguments.pip_audit, options)) for group in groups(packages)],
            installed=packages,
            source=f"pip-audit, {arguments.service}",
            today=datetime.now(UTC).date(),
        )
    except NothingAnsweredError:
        sys.exit(
            f"The service “{arguments.service}” knows none of {len(packages)} packages: it can't "
            "be reached, or a mirror without advisories answers in its place. The kept list is "
            "unchanged. Try again elsewhere, or with SERVICE=osv."
        )
    arguments.advisories.write_text(as_text(listed), encoding="utf-8")
    sys.stdout.write(
        f"{len(listed.looked_up)} of {len(packages)} packages were looked up; "
        f"{len(listed.advisories)} advisories.\n"
    )


if __name__ == "__main__":
    main()
