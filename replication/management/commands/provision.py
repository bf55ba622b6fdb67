"""`manage.py provision`"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.cluster.database import why_not_ready
from replication.tools.provisioning import (
    Aws,
    Plan,
    ProvisioningError,
    Step,
    all_rules,
    apply_plan,
    plan_all,
    plan_removal,
    service_policies,
)

# As Terraform's -detailed-exitcode: 0 nothing to do, or all done; 1 an error; 2 changes pending.
_PENDING = 2


class Command(BaseCommand):
    help = (
        "Shows what AWS needs for the rules in the database: a queue, its dead-letter queue and "
        "policy, the buckets' notifications, and the policies of the service's own roles. With "
        "--apply, makes all of it except the roles' policies. What others made stays as it is. The "
        "exit status is 0 if there is nothing to do or all is done, 1 after an error or if "
        "something is in the way, 2 if changes are pending."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="make the changes of the plan")
        parser.add_argument(
            "--destroy", action="store_true", help="plan to remove what provision made"
        )
        parser.add_argument(
            "--queue", default="", metavar="NAME", help="only this queue; it is made if missing"
        )
        parser.add_argument(
            "--source",
            action="append",
            default=[],
            metavar="NAME",
            help="only the bucket of this source; may be repeated",
        )
        parser.add_argument(
            "--profile",
            default="",
            metavar="NAME",
            help="credential profile of an administrator, for this run; default: the profiles of "
            "the queues and sources",
        )
        parser.add_argument(
            "--receiver", default="", metavar="ARN", help="ARN of the role that polls the queue"
        )
        parser.add_argument(
            "--write", type=Path, metavar="DIR", help="write the roles' policies to this folder"
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON object, for machines"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if (not_ready := why_not_ready()) is not None:
            raise CommandError(not_ready.reason)
        self._json = options["json"]
        aws = Aws(profile=options["profile"])
        try:
            plans = _plans(aws, options)
            policies = {} if options["destroy"] else service_policies(all_rules(), plans)
        except ProvisioningError as error:
            raise CommandError(str(error)) from error
        written = _write(options["write"], policies) if options["write"] else []
        steps = [step for plan in plans for step in plan.steps]
        obstacles = [obstacle for plan in plans for obstacle in plan.obstacles]
        self._show(plans, policies, is_printed=not (options["apply"] or options["write"]))
        for file in written:
            self._say(f"Written: {file}")
        if obstacles:
            raise CommandError("Nothing was changed: something is in the way, marked by `!`.")
        if options["apply"]:
            self._apply(plans, aws)
        elif steps:
            self._say("Nothing was changed; --apply makes these changes.")
            raise SystemExit(_PENDING)

    def _apply(self, plans: Sequence[Plan], aws: Aws) -> None:
        done: list[Step] = []
        added = [plan.desired.row for plan in plans if plan.steps and not plan.desired.row.pk]
        for plan in plans:
            try:
                apply_plan(plan, aws, on_done=done.append)
            except ProvisioningError as error:
                sentences = "".join(f"  {step.sentence}\n" for step in done) or "  nothing\n"
                raise CommandError(f"{error}\nDone before that:\n{sentences}") from error
        self._say(f"Done: {_count(len(done))}." if done else "")
        for row in added:
            entry = {"name": row.name, "url": row.url, "region": row.region}
            if row.credential_profile != "default":
                entry["credential_profile"] = row.credential_profile
            listed = ", ".join(f"{name}: {value}" for name, value in entry.items())
            self._say(f"For the section `queues` of your rules file:\n  - {{{listed}}}")

    def _show(self, plans: Sequence[Plan], policies: dict[str, Any], *, is_printed: bool) -> None:
        if self._json:
            self.stdout.write(json.dumps(_as_json(plans, policies), ensure_ascii=False, indent=2))
            return
        heading = ""
        for sign, where, sentence in _lines(plans):
            if where != heading:
                self.stdout.write(where)
                heading = where
            self.stdout.write(f"  {sign} {sentence}")
        count = sum(len(plan.steps) for plan in plans)
        self._say(f"Plan: {_count(count)}." if count else "There is nothing to change in AWS.")
        if policies and is_printed:
            self._show_policies(policies)

    def _show_policies(self, policies: dict[str, Any]) -> None:
        self._say(
            "\nThe policies that the service itself needs: attach them to its users or roles. If "
            "objects are\nencrypted with a KMS key, add kms:Decrypt on that key. --write DIR "
            "writes them as files."
        )
        for name, policy in policies.items():
            self._say(f"\n{name}:\n{json.dumps(policy, ensure_ascii=False, indent=2)}")

    def _say(self, text: str) -> None:
        if text and not self._json:
            self.stdout.write(text)


def _plans(aws: Aws, options: dict[str, Any]) -> list[Plan]:
    chosen = {"queue_name": options["queue"], "source_names": options["source"]}
    if options["destroy"]:
        return plan_removal(aws, **chosen)
    plans = plan_all(aws, **chosen, receiver_arn=options["receiver"])
    if not plans:
        raise ProvisioningError(
            "the database has no queue that is polled", hint="Make one with --queue NAME."
        )
    return plans


def _lines(plans: Sequence[Plan]) -> list[tuple[str, str, str]]:
    """Sign, where and sentence of each line, grouped by where."""
    lines = []
    for plan in plans:
        said = [
            *((step.sign, step.where, step.sentence) for step in plan.steps),
            *(("!", where, sentence) for where, sentence in plan.obstacles),
            *(("·", where, sentence) for where, sentence in plan.notes),
        ]
        order = list(dict.fromkeys(where for _, where, _ in said))
        lines += sorted(said, key=lambda line: order.index(line[1]))
    return lines


def _as_json(plans: Sequence[Plan], policies: dict[str, Any]) -> dict[str, Any]:
    return {
        "steps": [
            {"sign": step.sign, "where": step.where, "what": step.sentence}
            for plan in plans
            for step in plan.steps
        ],
        "obstacles": [
            {"where": where, "what": what} for plan in plans for where, what in plan.obstacles
        ],
        "notes": [{"where": where, "what": what} for plan in plans for where, what in plan.notes],
        "policies": policies,
    }


def _count(number: int) -> str:
    return "1 change" if number == 1 else f"{number} changes"


def _write(folder: Path, policies: dict[str, Any]) -> list[Path]:
    """Write each policy to a file in the folder, and return the files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, policy in policies.items():
            text = json.dumps(policy, ensure_ascii=False, indent=2)
            (folder / name).write_text(f"{text}\n", encoding="utf-8")
        return [folder / name for name in policies]
    except OSError as error:
        raise CommandError(f"{folder} can't be written to: {error.strerror}") from error
