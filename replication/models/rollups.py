"""What was completed or went wrong, added up as it happens: nothing ever reads the history."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from replication.models.rules import ReplicationRule

# From 0.05 s to 9.7 days, each √2 of the one before: a percentile is off by a fifth at worst. The
# rows of the last hour were counted by these; with others, empty the table.
LAG_BOUNDS_SECONDS = [0.05 * 2 ** (number / 2) for number in range(49)]


class CompletedMinute(models.Model):
    """The jobs of a rule that were completed within a minute; added up by jobs.complete."""

    rule = models.ForeignKey(
        ReplicationRule, models.CASCADE, related_name="completed_minutes", db_index=False
    )
    minute = models.DateTimeField(_("minute"))  # its beginning
    jobs = models.IntegerField(_("jobs"))
    copied_bytes = models.BigIntegerField(_("bytes copied"))
    # What counts towards the rule's brake; brake.py forgets them when a person confirms.
    charged_deletes = models.IntegerField(_("deletes that count"), db_default=0)
    # How many had a lag below the first bound, between it and the second, … above the last.
    lag_counts = ArrayField(models.IntegerField(), verbose_name=_("jobs by lag"))

    class Meta:
        default_permissions = ()
        constraints = [
            # By minute first: status reads the last day of all rules.
            models.UniqueConstraint(
                name="completed_minute_once_per_rule", fields=["minute", "rule"]
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} {self.minute:%Y-%m-%d %H:%M}"


class CompletedTotal(models.Model):
    """All jobs of a rule that were ever completed before `until`, which all rules have in common.

    The minutes from `until` on are to be added: metrics/totals.py moves it.
    """

    rule = models.OneToOneField(
        ReplicationRule, models.CASCADE, related_name="completed_total", primary_key=True
    )
    until = models.DateTimeField(_("until"))
    jobs = models.BigIntegerField(_("jobs"))
    copied_bytes = models.DecimalField(_("bytes copied"), max_digits=30, decimal_places=0)
    lag_counts = ArrayField(models.BigIntegerField(), verbose_name=_("jobs by lag"))

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.rule_id} until {self.until:%Y-%m-%d %H:%M}"


class TriesTotal(models.Model):
    """How many tries of a rule's jobs were ever unsuccessful for one reason.

    In some rows, to be added: lanes that write at the same time seldom meet on the same one.
    """

    rule = models.ForeignKey(
        ReplicationRule, models.CASCADE, related_name="tries_totals", db_index=False
    )
    code = models.CharField(_("error"), max_length=32)
    shard = models.SmallIntegerField()
    tries = models.BigIntegerField(_("unsuccessful tries"))

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                name="tries_total_once_per_shard", fields=["rule", "code", "shard"]
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} {self.code}"
