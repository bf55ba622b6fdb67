"""What the page of a sweep shows: how far it is, what it waits for, what it found and costs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from replication.admin import cells
from replication.admin.sweep_finds import Group, effects_of, groups_of, lost_hours_of
from replication.models import UNENDED, FindingState, Sweep, SweepLevel, SweepSlice, SweepState
from replication.monitoring.status.completed import read_completed
from replication.sweep import reporting, slices
from replication.sweep.causes import Cause
from replication.sweep.progress import MINIMUM_SHARE, Progress, progress_of

MOST_SLICES = 256  # in the picture
MOST_OPEN_SLICES = 12  # in the table
MOST_FINDINGS = 20


@dataclass(frozen=True)
class Bar:
    """A line of the progress; `percent` is as SVG writes numbers, None if it is not known."""

    label: str
    number: int
    percent: str | None
    kind: str  # the colour
    of: str = ""


@dataclass(frozen=True)
class Side:
    """What a sweep has asked of a side, and may have asked at its end."""

    name: str
    requests: int
    currency: str
    money: float
    share: float | None

    @property
    def requests_in_the_end(self) -> int | None:
        return round(self.requests / self.share) if self.share else None

    @property
    def money_in_the_end(self) -> float | None:
        return self.money / self.share if self.share else None


def context_of(sweep: Sweep) -> dict[str, Any]:
    """All that the template needs of a sweep, whose rule is loaded with its two sides."""
    now = progress_of(sweep)
    groups = groups_of(sweep)
    drawn = list(sweep.slices.order_by("after_key", "pk")[: MOST_SLICES + 1])
    lag_p50, lag_p99 = _live_lag(sweep)
    lost = reporting.lost_by(sweep) if any(each.cause == Cause.LOST for each in groups) else None
    return {
        "sweep": sweep,
        "title": name_of(sweep),
        "state": state_badge(sweep),
        "is_unended": sweep.state in UNENDED,
        "waits_for": waits_for(sweep, now, groups),
        "progress": now,
        "eta": _eta(now),
        "bars": list(_bars(sweep, now, groups)),
        "sides": list(_sides(sweep, now)),
        "spent": sweep.source_requests + sweep.destination_requests,
        "took": sweep.ended_at and (sweep.ended_at - sweep.began_at).total_seconds(),
        "lag_p50": lag_p50,
        "lag_p99": lag_p99,
        "cannot_see": reporting.CANT_SEE[SweepLevel(sweep.level)],
        "others": _others(sweep),
        "slices": _slice_counts(sweep),
        "drawn_slices": _draw(drawn) if 1 < len(drawn) <= MOST_SLICES else [],
        "slices_height": 17 * -(-len(drawn) // 32),
        "open_slices": sweep.slices.filter(is_done=False).order_by("-failures", "pk")[
            :MOST_OPEN_SLICES
        ],
        "groups": groups,
        "findings": sweep.findings.exclude(state=FindingState.GONE).order_by("key")[:MOST_FINDINGS],
        "lost_hours": lost_hours_of(lost),
        "lost_folders": list(lost["by_folder"].items()) if lost else [],
        "effects": effects_of(sweep),
    }


def name_of(sweep: Sweep) -> str:
    """E.g. "Backfill of photos"."""
    return _("%(kind)s of %(rule)s") % {
        "kind": sweep.kind.capitalize(),
        "rule": sweep.rule.name,
    }


_BADGES = {
    SweepState.SETTLING: "running",
    SweepState.PAUSED: "retrying",
}


def state_badge(sweep: Sweep) -> SafeString:
    """The state of a sweep, coloured."""
    return cells.badge(_BADGES.get(SweepState(sweep.state), sweep.state), sweep.get_state_display())


# -- how far it is ---------------------------------------------------------------------------------


def waits_for(sweep: Sweep, now: Progress, groups: list[Group]) -> str:
    """What an unended sweep waits for, in words; "" while it goes on."""
    if sweep.state not in UNENDED:
        return ""
    if waits := sweep.waits_for or _waits_for_rule(sweep):
        return waits
    if sweep.state == SweepState.SETTLING:
        return _waits_to_settle(now, sum(each.seen for each in groups))
    return _waits_for_slices(sweep)


def _waits_for_rule(sweep: Sweep) -> str:
    """A sweep that only reports looks at the buckets of a rule at rest, too."""
    rule = sweep.rule
    if sweep.mends and not rule.enabled:
        return _("the rule, which is disabled: enable it")
    if sweep.mends and rule.paused_at:
        return _("the rule, which is paused: resume it")
    if sweep.mends and rule.parked_at:
        return _("the rule, which is parked: nothing succeeds under it")
    return ""


def _waits_to_settle(now: Progress, seen: int) -> str:
    waits = []
    if seen:
        waits.append(
            ngettext("the second look at %s key", "the second look at %s keys", seen) % f"{seen:,}"
        )
    if jobs := now.waiting_jobs + now.running_jobs:
        waits.append(ngettext("%s job", "%s jobs", jobs) % f"{jobs:,}")
    return _(" and ").join(waits)


def _waits_for_slices(sweep: Sweep) -> str:
    open_slices = sweep.slices.filter(is_done=False)
    if open_slices.filter(held_until__gt=timezone.now()).exclude(held_by="").exists():
        return ""
    if open_slices.filter(held_until__gt=timezone.now(), failures__gt=0).exists():
        return _("its next try, after an error")
    if not slices.are_any_free(sweep.pk) and sweep.window_from and sweep.window_until:
        return _("its time of the day, %(window)s UTC") % {
            "window": f"{sweep.window_from:%H:%M}-{sweep.window_until:%H:%M}"
        }
    return _("a cluster that takes it up, which it does within a minute if one runs")


def _eta(now: Progress) -> str:
    if now.eta_seconds is None:
        return ""
    least, most = (cells.duration(timedelta(seconds=round(each))) for each in now.eta_seconds)
    return f"{least} – {most}"


def _bars(sweep: Sweep, now: Progress, groups: list[Group]) -> Iterator[Bar]:
    share = None if now.share is None else 100 * now.share
    about = ""
    if now.total_keys and sweep.listed_at is None:
        about = _("of about %s") % f"{now.total_keys:,}"
    mended = sum(each.mended for each in groups)
    looked = sum(each.keys - each.seen for each in groups)
    kept = sum(each.keys for each in groups)
    yield Bar(_("Listed, S3"), sweep.source_keys, _percent(share), "busy", about)
    yield Bar(_("Listed, OSS"), sweep.replica_keys, _percent(share), "busy")
    listed = max(sweep.source_keys, sweep.replica_keys)
    plausible = _("%s plausible") % f"{sweep.plausible:,}" if sweep.plausible else ""
    yield Bar(_("Equal"), sweep.equal, _share(sweep.equal, listed), "good", plausible)
    yield Bar(_("Differ"), sweep.differ, _share(sweep.differ, listed), "warn")
    if sweep.mends:
        left = now.waiting_jobs + now.running_jobs + reporting.failed_jobs(sweep)
        done = mended + max(0, sweep.ordered_unkept - left)
        yield Bar(_("Mended"), done, _share(done, sweep.ordered), "good", _of(sweep.ordered))
    yield Bar(_("Looked at again"), looked, _share(looked, kept), "busy", _of(kept))


def _of(number: int) -> str:
    return _("of %s") % f"{number:,}"


def _share(part: int, whole: int) -> str:
    return _percent(100 * part / whole if whole else 0.0) or "0"


def _percent(number: float | None) -> str | None:
    return None if number is None else f"{min(100.0, number):.1f}"


def _sides(sweep: Sweep, now: Progress) -> Iterator[Side]:
    share = now.share if now.share is not None and now.share >= MINIMUM_SHARE else None
    if sweep.state not in UNENDED:
        share = None
    cost = reporting.cost(sweep)
    yield Side("S3", sweep.source_requests, "US$", cost["source_usd"], share)
    yield Side("OSS", sweep.destination_requests, "CNY", cost["destination_cny"], share)


def _live_lag(sweep: Sweep) -> tuple[float | None, float | None]:
    completed = read_completed().get(sweep.rule_id)
    return completed.lag_percentiles if completed else (None, None)


def _others(sweep: Sweep) -> list[tuple[str, int]]:
    """The counts of keys that are neither equal nor a difference."""
    names = [
        *("left_out", "refused", "archived", "unknown", "under_way", "kept", "foreign"),
        *("found_again", "unkept_findings"),
    ]
    labels = {name: Sweep._meta.get_field(name).verbose_name for name in names}  # type: ignore[union-attr]
    return [(str(labels[name]), getattr(sweep, name)) for name in names if getattr(sweep, name)]


# -- slices ----------------------------------------------------------------------------------------


def _slice_counts(sweep: Sweep) -> dict[str, int]:
    is_held = Q(is_done=False) & ~Q(held_by="")
    return sweep.slices.aggregate(
        all=Count("pk"),
        done=Count("pk", filter=Q(is_done=True)),
        held=Count("pk", filter=is_held),
        failing=Count("pk", filter=Q(is_done=False, failures__gt=0)),
    )


def _draw(drawn: list[SweepSlice]) -> list[tuple[int, int, str]]:
    """The place and the colour of each slice, 32 in a row."""
    return [(17 * (at % 32), 17 * (at // 32), _kind(one)) for at, one in enumerate(drawn)]


def _kind(one: SweepSlice) -> str:
    if one.is_done:
        return "good"
    if one.failures:
        return "bad"
    return "busy" if one.held_by else "calm"
