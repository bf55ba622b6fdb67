"""Counters of completions and errors, updated as they happen: no reader scans the history."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from replication.models.rules import ReplicationRule

# From 0.05 s to 9.7 days, each √2 times the one before: a percentile is off by a fifth at worst.
# The stored counts belong to these bounds: if you change the bounds, empty the tables.
LAG_BOUNDS_SECONDS = [0.05 * 2 ** (number / 2) for number in range(49)]


class CompletedMinute(models.Model):
    """The jobs of a rule that completed within one minute; jobs.complete adds to the counts."""

    rule = models.ForeignKey(
        ReplicationRule, models.CASCADE, related_name="completed_minutes", db_index=False
    )
    minute = models.DateTimeField(_("minute"))  # its start
    jobs = models.IntegerField(_("jobs"))
    # Of these, those that a comparison of buckets asked for: the brake does not count them, because
    # a backfill would disarm it.
    swept_jobs = models.IntegerField(_("jobs of comparisons"), db_default=0)
    copied_bytes = models.BigIntegerField(_("bytes copied"))
    # Deletes that count towards the rule's brake; a confirmation by a person resets them.
    charged_deletes = models.IntegerField(_("deletes that count"), db_default=0)
    # Jobs with a lag below the first bound, between the first and the second, … above the last.
    lag_counts = ArrayField(models.IntegerField(), verbose_name=_("jobs by lag"))

    class Meta:
        default_permissions = ()
        constraints = [
            # Minute first: the status page reads the last day of all rules.
            models.UniqueConstraint(
                name="completed_minute_once_per_rule", fields=["minute", "rule"]
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} {self.minute:%Y-%m-%d %H:%M}"


class CompletedTotal(models.Model):
    """All jobs of a rule that completed before `until`, which is the same for all rules.

    Readers add the minutes from `until` on. monitoring/metrics/totals.py moves `until` forward.
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
    """The unsuccessful attempts of a rule's jobs so far, by error code.

    The count is the sum over several shards, so that concurrent lanes seldom update the same row.
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
