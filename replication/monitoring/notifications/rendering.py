"""Renders all news of a moment as one message: what is wrong, since when, what to do, links."""

from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import urlencode

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from replication.models import Condition, ConditionKind
from replication.monitoring.notifications.sender import Message
from replication.monitoring.notifications.state import Item, News
from replication.monitoring.status import Numbers
from replication.monitoring.status.wording import in_words

# WeCom's robots accept 2,048 bytes including the title; all other services accept more.
MAX_BODY_BYTES = 1_850
_MAX_TEXT_LENGTH = 600

# Titles: while the condition lasts, and when it is over.
_TITLES: dict[ConditionKind, tuple[str, str]] = {
    ConditionKind.FAILURES: ("jobs of rule {} fail", "jobs of rule {} no longer fail"),
    ConditionKind.LAG: ("rule {} is behind", "rule {} has caught up"),
    ConditionKind.PARKED: ("rule {} is parked", "rule {} is no longer parked"),
    ConditionKind.BRAKED: ("rule {} stopped deleting", "rule {} deletes again"),
    ConditionKind.DEAD_LETTERS: (
        "queue {} has new dead letters",
        "queue {} has no new dead letters left",
    ),
    ConditionKind.QUEUE: ("queue {} can't be polled", "queue {} is polled again"),
    ConditionKind.NO_EVENTS: ("no event from {} for a long time", "events arrive from {} again"),
    ConditionKind.CANARY: ("the canary of rule {} fails", "the canary of rule {} works again"),
    ConditionKind.CREDENTIALS: (
        "a host's credentials don't work",
        "the credentials of all hosts work again",
    ),
    ConditionKind.NOT_RUNNING: (
        "no lane or no poller is alive",
        "lanes and pollers are alive again",
    ),
}

_HEADINGS = {
    News.OPENED: "WRONG since {since}",
    News.STILL: "STILL WRONG since {since}, for {lasted}",
    News.OVER: "OVER since {until}, after {lasted}",
    News.CAME_AND_WENT: "WAS WRONG since {since}, OVER since {until}",
}

# Chats take these for markup or for a mention of everybody. Anyone who may upload chooses keys.
_HARMLESS = str.maketrans({"<": "‹", ">": "›", "@": "＠"})


def compose(items: Sequence[Item], numbers: Numbers) -> Message:
    """Put all items into one message, cut to the size that every service accepts."""
    is_wrong = any(item.news in {News.OPENED, News.STILL} for item in items)
    links = _Links(numbers)
    footer = f"\nStatus: {links.status}\n" if links.status else ""
    parts: list[str] = []
    for number, item in enumerate(items):
        rest = f"\nAnd {len(items) - number} more: see the status page for what is wrong now.\n"
        part = _part(item, links.of(item.condition), at=numbers.generated_at)
        size = len("\n".join([*parts, part, rest, footer]).encode())
        if parts and size > MAX_BODY_BYTES:
            parts.append(rest.strip("\n") + "\n")
            break
        parts.append(part)
    body = ("\n".join(parts) + footer).strip("\n")
    return Message(
        title=f"s3sync: {_title(items)}",
        # A single text in 3-byte characters can exceed the limit by itself.
        body=body.encode()[:MAX_BODY_BYTES].decode(errors="ignore"),
        kind="failure" if is_wrong else "success",
    )


def compose_test(target: str) -> Message:
    """The test message for a target."""
    link = _Links(None).status
    where = f"Status: {link}" if link else "S3SYNC_PUBLIC_URL is not set: messages have no links."
    return Message(
        title="s3sync: a test message",
        body=f"Notification target {target} works. This is a test: nothing is wrong.\n\n{where}",
        kind="info",
    )


def _title(items: Sequence[Item]) -> str:
    if len(items) == 1:
        return _title_of(items[0])
    wrong = sum(item.news in {News.OPENED, News.STILL} for item in items)
    over = len(items) - wrong
    counts = [f"{wrong} wrong" if wrong else "", f"{over} over" if over else ""]
    return ", ".join(filter(None, counts))


def _title_of(item: Item) -> str:
    condition = item.condition
    while_it_lasts, when_over = _TITLES[ConditionKind(condition.kind)]
    about = condition.rule or condition.queue
    if condition.kind == ConditionKind.NO_EVENTS:
        about = f"queue {about}" if about else "the Lambda function"
    match item.news:
        case News.OPENED:
            return while_it_lasts.format(about)
        case News.STILL:
            return f"still: {while_it_lasts.format(about)}"
        case News.OVER:
            return when_over.format(about)
        case News.CAME_AND_WENT:
            return f"it is over: {while_it_lasts.format(about)}"


def _part(item: Item, link: str, *, at: datetime) -> str:
    condition = item.condition
    until = condition.closed_at or at
    heading = _HEADINGS[item.news].format(
        since=_moment(condition.began_at),
        until=_moment(until),
        lasted=in_words((until - condition.began_at).total_seconds()),
    )
    texts = {
        News.OPENED: [condition.detail],
        News.STILL: [condition.detail],
        News.OVER: [condition.closing],
        News.CAME_AND_WENT: [condition.detail, condition.closing],
    }[item.news]
    return "\n".join([heading, *map(_harmless, texts), *filter(None, [link]), ""])


def _moment(when: datetime) -> str:
    return f"{timezone.localtime(when):%Y-%m-%d %H:%M %Z}"


def _harmless(text: str) -> str:
    """Return one line of limited length without invisible characters, mentions or markup."""
    shown = "".join(each if each.isprintable() else "�" for each in " ".join(text.split()))
    if len(shown) > _MAX_TEXT_LENGTH:
        shown = f"{shown[: _MAX_TEXT_LENGTH - 1]}…"
    return shown.translate(_HARMLESS)


class _Links:
    """Absolute URLs of admin pages; empty without S3SYNC_PUBLIC_URL."""

    def __init__(self, numbers: Numbers | None) -> None:
        self._rules = {rule.name: rule.id for rule in numbers.rules} if numbers else {}
        self._queues = {queue.name: queue.id for queue in numbers.queues} if numbers else {}

    @property
    def status(self) -> str:
        return _absolute(reverse("status"))

    def of(self, condition: Condition) -> str:
        """The page that shows most about the condition; empty if its rule or queue is gone."""
        rule_id = self._rules.get(condition.rule)
        queue_id = self._queues.get(condition.queue)
        if condition.kind in {ConditionKind.NOT_RUNNING, ConditionKind.CREDENTIALS}:
            return _list("heartbeat")
        pages: dict[str, Callable[[], str]] = {
            ConditionKind.FAILURES: lambda: _list("failedjob", rule__id__exact=rule_id),
            ConditionKind.LAG: lambda: _list(
                "transferjob", state="pending", rule__id__exact=rule_id
            ),
            ConditionKind.PARKED: lambda: _page("replicationrule", rule_id),
            ConditionKind.BRAKED: lambda: _page("replicationrule", rule_id),
            ConditionKind.CANARY: lambda: _page("replicationrule", rule_id),
            ConditionKind.DEAD_LETTERS: lambda: _list("deadletter", queue__id__exact=queue_id),
            ConditionKind.QUEUE: lambda: _page("eventqueue", queue_id),
            ConditionKind.NO_EVENTS: lambda: _page("eventqueue", queue_id),
        }
        return pages[condition.kind]() if rule_id or queue_id else ""


def _list(model: str, **filters: object) -> str:
    path = reverse(f"admin:replication_{model}_changelist")
    return _absolute(f"{path}?{urlencode(filters)}" if filters else path)


def _page(model: str, pk: int | None) -> str:
    return _absolute(reverse(f"admin:replication_{model}_change", args=[pk]))


def _absolute(path: str) -> str:
    return f"{settings.S3SYNC.public_url}{path}" if settings.S3SYNC.public_url else ""
