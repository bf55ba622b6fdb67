"""Formats keys, states, sizes and times for operators, always escaped."""

import unicodedata
from datetime import datetime, timedelta

from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from replication.models import Job, JobFields, Outcome

NOTHING = SafeString('<span class="nothing">–</span>')

LIST_KEY_LENGTH = 90
KEPT_TAIL_LENGTH = 40  # the end, a file name, tells more than the middle

# Zero-width joiners shape emoji and Persian letters: a name in their place would garble the key.
_ZERO_WIDTH_JOINERS = "\u200c\u200d"
_INVISIBLE_CATEGORIES = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"}
_CONTROL_NAMES = {"\t": "TAB", "\n": "LF", "\r": "CR"}
_SPACE = "‹SP›"


def visible(text: str) -> str:
    """Return the text with a name in place of each character that can't be seen.

    These are line breaks, invisible characters, spaces at either end, and characters that change
    the writing direction. They get names because few fonts have symbols for them.
    """
    inner = text.strip(" ")
    leading = len(text) - len(text.lstrip(" "))
    trailing = len(text) - leading - len(inner)
    return _SPACE * leading + "".join(map(_visible_character, inner)) + _SPACE * trailing


def _visible_character(character: str) -> str:
    if (
        character == " "
        or character in _ZERO_WIDTH_JOINERS
        or unicodedata.category(character) not in _INVISIBLE_CATEGORIES
    ):
        return character
    return f"‹{_CONTROL_NAMES.get(character) or f'U+{ord(character):04X}'}›"


def key(text: str) -> SafeString:
    """A full key."""
    return format_html('<code class="key" dir="ltr">{}</code>', visible(text))


def short_key(text: str) -> SafeString:
    """A key for a list: a long key is cut in the middle, and its title has the full key."""
    shown = visible(text)
    if len(shown) <= LIST_KEY_LENGTH:
        return key(text)
    head = LIST_KEY_LENGTH - KEPT_TAIL_LENGTH - 1
    return format_html(
        '<code class="key" dir="ltr" title="{}">{}<span class="cut">…</span>{}</code>',
        shown,
        shown[:head],
        shown[-KEPT_TAIL_LENGTH:],
    )


def badge(kind: str, label: str | Promise) -> SafeString:
    """The badge of a state: `kind` only sets the colour, the label says everything."""
    return format_html('<span class="badge badge-{}">{}</span>', kind, label)


def job_state(job: JobFields) -> SafeString:
    """The state of a job; for a pending job, also what the job waits for."""
    if job.awaits_confirmation:
        return badge("failed", _("delete held"))
    if job.is_being_restored:
        return badge("pending", _("being restored"))
    if job.is_retrying:
        return badge("retrying", _("retrying"))
    return badge(job.state, job.get_state_display())


def job_result(job: Job) -> SafeString:
    """The job's outcome, or the cause of its last error."""
    if job.outcome:
        return job_outcome(job)
    if job.error is None:
        return NOTHING
    return format_html('<span title="{}">{}</span>', job.error.cause, job.error.cause)


def job_outcome(job: Job) -> SafeString:
    """How a completed job ended, and whether its page has remarks."""
    label = job.get_outcome_display()
    if job.outcome == Outcome.SKIPPED:
        return format_html('<span title="{}">{}</span>', job.remarks, badge("retrying", label))
    if not job.remarks:
        return format_html("{}", label)
    return format_html(
        '{} <span class="quiet" title="{}">{}</span>', label, job.remarks, _("with remarks")
    )


def size(size_bytes: int | None) -> str:
    return NOTHING if size_bytes is None else filesizeformat(size_bytes)


def capped(number: int, limit: int) -> str:
    """A number with thousands separators; "100,000+" if counting stopped above that limit."""
    return f"{number:,}" if number <= limit else f"{limit:,}+"


def absolute(when: datetime) -> str:
    return f"{timezone.localtime(when):%Y-%m-%d %H:%M:%S %Z}"


def ago(when: datetime | None) -> SafeString:
    """How long ago or how soon, with the absolute time as the title."""
    if when is None:
        return NOTHING
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        when.isoformat(),
        absolute(when),
        _distance(when),
    )


def moment(when: datetime | None) -> SafeString:
    """The absolute time, and how long ago or how soon that is."""
    if when is None:
        return NOTHING
    return format_html(
        '<time datetime="{}">{}</time> <span class="quiet">({})</span>',
        when.isoformat(),
        absolute(when),
        _distance(when),
    )


def _distance(when: datetime) -> str:
    passed = timezone.now() - when
    if abs(passed) < timedelta(seconds=1):
        return _("now")
    if passed < timedelta():
        return _("in %(duration)s") % {"duration": _rounded(-passed)}
    return _("%(duration)s ago") % {"duration": _rounded(passed)}


def _rounded(length: timedelta) -> str:
    seconds = length.total_seconds()
    for unit_seconds, unit in ((86400, _("d")), (3600, _("h")), (60, _("min"))):
        if seconds >= unit_seconds:
            return f"{seconds // unit_seconds:.0f} {unit}"
    return f"{seconds:.0f} {_('s')}"


def duration(length: timedelta | None) -> str:
    """A length of time, rounded, e.g. "0.84 s", "3 min 20 s"."""
    if length is None:
        return NOTHING
    seconds = length.total_seconds()
    if seconds < 10:
        return f"{seconds:.2f} {_('s')}"
    if seconds < 59.5:
        return f"{seconds:.0f} {_('s')}"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} {_('min')} {seconds} {_('s')}"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} {_('h')} {minutes} {_('min')}"
    return f"{hours // 24} {_('d')} {hours % 24} {_('h')}"
