"""manage.py provision"""

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
    carry_out,
    plan_all,
    plan_removal,
    service_policies,
)

# As Terraform's -detailed-exitcode: 0 nothing to do, or done; 1 an error; 2 changes are pending.
_PENDING = 2


class Command(BaseCommand):
    help = (
        "Says what AWS needs for the rules in the database: queue, dead-letter queue, the queue's "
        "policy, the buckets' notifications, and the policies of the service's own roles. With "
        "--apply makes it, but for the roles' policies. What others have made is left as it is. "
        "The exit status is 0 if there is nothing to do or all is done, 2 if changes are pending, "
        "1 if something is in the way."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="do what the plan says")
        parser.add_argument(
            "--destroy", action="store_true", help="plan to take out what provision has made"
        )
        parser.add_argument(
            "--queue", default="", metavar="NAME", help="this queue alone; made if there is none"
        )
        parser.add_argument(
            "--source",
            action="append",
            default=[],
            metavar="NAME",
            help="the bucket of this source alone; may be repeated",
        )
        parser.add_argument(
            "--profile",
            default="",
            metavar="NAME",
            help="an administrator's credential profile, for this run; otherwise those of the "
            "queues and sources",
        )
        parser.add_argument(
            "--receiver", default="", metavar="ARN", help="the role that polls the queue"
        )
        parser.add_argument(
            "--write", type=Path, metavar="DIR", help="write the roles' policies there"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object, for machines")

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
            self._carry_out(plans, aws)
        elif steps:
            self._say("Nothing was changed; --apply makes these changes.")
            raise SystemExit(_PENDING)

    def _carry_out(self, plans: Sequence[Plan], aws: Aws) -> None:
        done: list[Step] = []
        added = [plan.needs.row for plan in plans if plan.steps and not plan.needs.row.pk]
        for plan in plans:
            try:
                carry_out(plan, aws, say=done.append)
            except ProvisioningError as error:
                sentences = "".join(f"  {step.sentence}\n" for step in done) or "  nothing\n"
                raise CommandError(f"{error}\nDone before that:\n{sentences}") from error
        self._say(f"Done: {_count(len(done))}." if done else "")
        for row in added:
            entry = {"name": row.name, "url": row.url, "region": row.region}
            if row.credential_profile != "default":
                entry["credential_profile"] = row.credential_profile
            listed = ", ".join(f"{name}: {value}" for name, value in entry.items())
            self._say(f"For `queues` of your rules file:\n  - {{{listed}}}")

    def _show(self, plans: Sequence[Plan], policies: dict[str, Any], *, is_printed: bool) -> None:
        if self._json:
            self.stdout.write(json.dumps(_as_json(plans, policies), ensure_ascii=False, indent=2))
            return
        said = ""
        for sign, where, sentence in _lines(plans):
            if where != said:
                self.stdout.write(where)
                said = where
            self.stdout.write(f"  {sign} {sentence}")
        count = sum(len(plan.steps) for plan in plans)
        self._say(f"Plan: {_count(count)}." if count else "There is nothing to change in AWS.")
        if policies and is_printed:
            self._show_policies(policies)

    def _show_policies(self, policies: dict[str, Any]) -> None:
        self._say(
            "\nThe policies that the service itself needs; attach them where its credentials come "
            "from. Where\nobjects are encrypted with a KMS key, add kms:Decrypt on that key. "
            "--write DIR writes them as files."
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
            "the database has no queue that is polled", hint="--queue NAME makes one."
        )
    return plans


def _lines(plans: Sequence[Plan]) -> list[tuple[str, str, str]]:
    """Sign, place and sentence of all there is to say, by place."""
    lines = []
    for plan in plans:
        told = [
            *((step.sign, step.where, step.sentence) for step in plan.steps),
            *(("!", where, sentence) for where, sentence in plan.obstacles),
            *(("·", where, sentence) for where, sentence in plan.notes),
        ]
        places = list(dict.fromkeys(where for _, where, _ in told))
        lines += sorted(told, key=lambda line: places.index(line[1]))
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
    """Write each policy into a file of the folder; the files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, policy in policies.items():
            text = json.dumps(policy, ensure_ascii=False, indent=2)
            (folder / name).write_text(f"{text}\n", encoding="utf-8")
        return [folder / name for name in policies]
    except OSError as error:
        raise CommandError(f"{folder} can't be written to: {error.strerror}") from error
