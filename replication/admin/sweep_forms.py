"""The forms of sweeps: what a new one is to do, and the limits of one that runs."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from replication.models import DeletePolicy, ReplicationRule, Sweep, SweepKind, SweepLevel
from replication.sweep.lifecycle import LIMITS


class Purpose(models.TextChoices):
    """What a person wants of a sweep; each is a kind of sweep that mends or only reports."""

    BACKFILL = "backfill", gettext_lazy("Backfill")
    COMPARE = "compare", gettext_lazy("Compare")
    MEND = "mend", gettext_lazy("Compare and mend")


EFFECTS: dict[str, Any] = {
    Purpose.BACKFILL: gettext_lazy(
        "Copies every object that OSS does not have, those older than the rule included."
    ),
    Purpose.COMPARE: gettext_lazy("Only reports which keys differ, and why. Nothing is changed."),
    Purpose.MEND: gettext_lazy("Also copies the keys that are missing or different."),
}
SIMULATES = gettext_lazy("Reports what the rule would do. Nothing is changed.")
LEVELS: dict[str, Any] = {
    SweepLevel.LISTING: gettext_lazy(
        "Size, ETag and time of both listings. A newer replica of the same size is taken for a "
        "copy. The cheapest level: one request for 1,000 keys."
    ),
    SweepLevel.RECORDS: gettext_lazy("Also our records of the last copy. No further requests."),
    SweepLevel.HEAD: gettext_lazy("Also a HEAD of each replica that is only plausibly equal."),
    SweepLevel.FULL: gettext_lazy(
        "Both sides of every key are read and compared. This costs the whole traffic."
    ),
}


RADIOS = forms.RadioSelect(attrs={"class": "radiolist"})


class LimitsForm(forms.ModelForm):
    """The limits of a sweep; each may be empty."""

    class Meta:
        model = Sweep
        fields = LIMITS
        widgets = {
            "requests_per_second": forms.NumberInput(attrs={"min": 0.1, "step": "any"}),
            "most_requests": forms.NumberInput(attrs={"min": 1}),
            "window_from": forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
            "window_until": forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["most_requests"].validators.append(MinValueValidator(1))

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        times = cleaned.get("window_from"), cleaned.get("window_until")
        if "window_from" in cleaned and "window_until" in cleaned:
            if (times[0] is None) != (times[1] is None):
                self.add_error("window_until", _("Enter both times, or none."))
            elif times[0] is not None and times[0] == times[1]:
                self.add_error("window_until", _("Enter two different times, or none."))
        return cleaned

    @property
    def limits(self) -> dict[str, Any]:
        """The limits, for `lifecycle.limit`."""
        return {name: self.cleaned_data[name] for name in LIMITS}


class StartForm(LimitsForm):
    """A new sweep of a rule. A rule that is disabled can only be simulated."""

    purpose = forms.ChoiceField(label=gettext_lazy("What to do"), widget=RADIOS)
    settle_minutes = forms.IntegerField(
        label=gettext_lazy("Minutes until the second look"),
        initial=15,
        validators=[MinValueValidator(0), MaxValueValidator(24 * 60)],
        help_text=gettext_lazy(
            "A key that differs is looked at again so long after its last change. Only if it still "
            "differs is it called a difference."
        ),
    )

    class Meta(LimitsForm.Meta):
        fields = ("level", "prefix", "mends_extras", *LIMITS)  # type: ignore[assignment]
        widgets = LimitsForm.Meta.widgets | {  # type: ignore[assignment]
            "level": RADIOS,
            "prefix": forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        }
        labels = {"mends_extras": gettext_lazy("Also look at extra keys")}
        help_texts = {
            "prefix": gettext_lazy("Only keys that begin with this. Empty: all keys of the rule."),
        }

    def __init__(self, *args: Any, rule: ReplicationRule, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rule = rule
        fields: dict[str, Any] = self.fields
        if rule.enabled:
            choices = [(one.value, _explained(one.label, EFFECTS[one])) for one in Purpose]
        else:
            choices = [(Purpose.COMPARE.value, _explained(_("Simulate"), SIMULATES))]
        fields["purpose"].choices = choices
        fields["purpose"].initial = choices[0][0]
        fields["level"].choices = [
            (level.value, _explained(level.value, LEVELS[level])) for level in SweepLevel
        ]
        fields["level"].initial = SweepLevel.LISTING
        fields["prefix"].strip = False  # white space belongs to the key
        fields["mends_extras"].help_text = _extras_help(rule)
        if not rule.enabled or rule.delete_policy == DeletePolicy.KEEP:
            del fields["mends_extras"]

    def clean_prefix(self) -> str:
        prefix: str = self.cleaned_data["prefix"]
        if prefix and not prefix.startswith(self._rule.source_prefix):
            raise ValidationError(
                _("Begin with the rule's prefix, “%(prefix)s”."),
                params={"prefix": self._rule.source_prefix},
            )
        return prefix

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("mends_extras") and cleaned.get("purpose") != Purpose.MEND:
            self.add_error("mends_extras", _("Only “Compare and mend” looks at extra keys."))
        return cleaned

    @property
    def kind(self) -> SweepKind:
        is_backfill = self.cleaned_data["purpose"] == Purpose.BACKFILL
        return SweepKind.BACKFILL if is_backfill else SweepKind.RECONCILE

    @property
    def options(self) -> dict[str, Any]:
        """The options, for `lifecycle.start`."""
        return {
            "level": self.cleaned_data["level"],
            "prefix": self.cleaned_data["prefix"],
            "mends": self.cleaned_data["purpose"] != Purpose.COMPARE,
            "mends_extras": self.cleaned_data.get("mends_extras", False),
            "settle_seconds": 60 * self.cleaned_data["settle_minutes"],
            **self.limits,
        }


def _explained(label: Any, effect: Any) -> str:
    return format_html('<b>{}</b> <span class="help">{}</span>', label, effect)


def _extras_help(rule: ReplicationRule) -> str:
    return _(
        "Replicas whose objects are gone in %(source)s. The jobs delete what the rule deletes: "
        "after a look of their own, with the marks of ownership and the brake. Too many extra keys "
        "are left to a person."
    ) % {"source": rule.source.name}
