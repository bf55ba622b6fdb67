"""Sweeps: comparisons of a rule's two buckets, in slices of the key range that clusters share."""

from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from replication.models.rules import ReplicationRule


class SweepKind(models.TextChoices):
    SCRUB = "scrub", _("scrub: find what no event told of")
    BACKFILL = "backfill", _("backfill: copy what was there before")
    RECONCILE = "reconcile", _("reconcile: compare, and mend on request")
    RECOVERY = "recovery", _("recovery: mend what a restored database does not know of")


class SweepLevel(models.TextChoices):
    """How far a comparison goes to prove that a key is equal; each includes the ones before."""

    LISTING = "listing", _("listing: a newer replica of the same size is taken for a copy")
    RECORDS = "records", _("records: our record of the last copy must have both ETags")
    HEAD = "head", _("head: the replica's provenance must name the object's ETag")
    FULL = "full", _("full: both sides are read and compared byte by byte")


class SweepState(models.TextChoices):
    RUNNING = "running", _("running")
    SETTLING = "settling", _("looking again")  # all is listed; what differed is looked at again
    PAUSED = "paused", _("paused")
    COMPLETED = "completed", _("completed")
    CANCELLED = "cancelled", _("cancelled")
    FAILED = "failed", _("failed")  # a slice could not be compared


UNENDED = (SweepState.RUNNING, SweepState.SETTLING, SweepState.PAUSED)


class Sweep(models.Model):
    """One comparison of a rule's buckets: what it is to do, and what it has found so far.

    The counts of missing, different and extra keys are of what was found at first sight, less what
    a second look found equal.
    """

    id: int
    rule_id: int
    rule = models.ForeignKey(
        ReplicationRule, models.CASCADE, related_name="sweeps", verbose_name=_("rule")
    )
    kind = models.CharField(_("kind"), max_length=9, choices=SweepKind)
    level = models.CharField(
        _("level"), max_length=8, choices=SweepLevel, db_default=SweepLevel.LISTING
    )
    prefix = models.TextField(_("prefix"), db_default="", blank=True)
    since = models.DateTimeField(_("changes since then are mended first"), null=True)
    mends = models.BooleanField(_("mends missing and different keys"), db_default=False)
    mends_extras = models.BooleanField(_("mends extra keys"), db_default=False)
    state = models.CharField(
        _("state"), max_length=9, choices=SweepState, db_default=SweepState.RUNNING
    )
    began_at = models.DateTimeField(_("began"), db_default=Now())
    listed_at = models.DateTimeField(_("all listed"), null=True)
    ended_at = models.DateTimeField(_("ended"), null=True)
    rule_version = models.BigIntegerField()  # an edited rule is swept from the start
    settle_seconds = models.IntegerField(_("seconds until the second look"), db_default=900)
    error = models.TextField(_("error"), db_default="")
    waits_for = models.TextField(_("waits for"), db_default="")

    requests_per_second = models.FloatField(
        _("requests a second"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0.1)],
        help_text=_("To each side, of all hosts together. Empty: as fast as possible."),
    )
    window_from = models.TimeField(_("from"), null=True, blank=True, help_text=_("UTC"))
    window_until = models.TimeField(_("until"), null=True, blank=True, help_text=_("UTC"))
    most_requests = models.BigIntegerField(
        _("budget of requests"),
        null=True,
        blank=True,
        help_text=_("To both sides together; the sweep pauses when they are spent."),
    )
    samples = models.JSONField(default=list)  # see sweep/progress.py
    sampled_at = models.DateTimeField(null=True)
    paced_until = models.DateTimeField(db_default=Now())  # no request before, see the rate

    source_keys = models.BigIntegerField(_("keys at the source"), db_default=0)
    source_bytes = models.BigIntegerField(_("bytes at the source"), db_default=0)
    replica_keys = models.BigIntegerField(_("keys at the destination"), db_default=0)
    source_requests = models.BigIntegerField(_("requests to S3"), db_default=0)
    destination_requests = models.BigIntegerField(_("requests to OSS"), db_default=0)
    throttles = models.BigIntegerField(_("throttled"), db_default=0)
    equal = models.BigIntegerField(_("equal"), db_default=0)
    plausible = models.BigIntegerField(_("of these plausible"), db_default=0)
    missing = models.BigIntegerField(_("missing"), db_default=0)
    missing_bytes = models.BigIntegerField(_("bytes to copy"), db_default=0)
    different = models.BigIntegerField(_("different"), db_default=0)
    extra = models.BigIntegerField(_("extra"), db_default=0)
    left_out = models.BigIntegerField(_("left out by the filters"), db_default=0)
    refused = models.BigIntegerField(_("refused by OSS"), db_default=0)
    archived = models.BigIntegerField(_("archived"), db_default=0)
    unknown = models.BigIntegerField(_("could not be compared"), db_default=0)
    under_way = models.BigIntegerField(_("with a job under way"), db_default=0)
    kept = models.BigIntegerField(_("kept though deleted at the source"), db_default=0)
    foreign = models.BigIntegerField(_("of other programs or rules"), db_default=0)
    ordered = models.BigIntegerField(_("keys that jobs look at"), db_default=0)
    ordered_unkept = models.BigIntegerField(_("of these without a finding"), db_default=0)
    lost = models.BigIntegerField(_("changes that no event told of"), db_default=0)
    found_again = models.BigIntegerField(_("equal at the second look"), db_default=0)
    unkept_findings = models.BigIntegerField(_("findings beyond the kept ones"), db_default=0)

    class Meta:
        verbose_name = _("sweep")
        verbose_name_plural = _("sweeps")
        default_permissions = ("view",)
        permissions = [("operate_sweep", "Can start, pause and cancel sweeps")]
        constraints = [
            models.UniqueConstraint(
                name="one_sweep_of_a_rule_at_a_time",
                fields=["rule"],
                condition=Q(state__in=UNENDED),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.rule}"

    @property
    def listed_prefix(self) -> str:
        """What all keys of the sweep begin with."""
        within = self.prefix.startswith(self.rule.source_prefix)
        return self.prefix if within else self.rule.source_prefix

    @property
    def differ(self) -> int:
        """How many keys were missing, different or extra, and were not equal at a second look."""
        return self.missing + self.different + self.extra


class SweepSlice(models.Model):
    """A range of keys: after `after_key`, up to and with `until_key`, or to the end if it is null.

    A cluster that carries it on holds it until `held_until`, and `token` fences off one that held
    it before. `cursor` is the last key that is done.
    """

    id: int
    sweep_id: int
    # Of a slice that is carried on: when the pages of the next batch were asked for at the earliest
    # (one is asked for ahead), and those of the batch after it.
    read_since: tuple[datetime, datetime]
    sweep = models.ForeignKey(Sweep, models.CASCADE, related_name="slices")
    after_key = models.TextField(db_default="", db_collation="C")
    until_key = models.TextField(null=True, db_collation="C")  # noqa: DJ001 - no key is the last
    # Another worker has nothing to do, and asks whoever holds the slice to split it here.
    splits = ArrayField(models.TextField(), db_default=[])
    cursor = models.TextField(db_default="", db_collation="C")
    is_done = models.BooleanField(db_default=False)
    failures = models.IntegerField(db_default=0)  # since the last progress
    error = models.TextField(db_default="")
    token = models.IntegerField(db_default=0)
    held_until = models.DateTimeField(null=True)  # if nobody holds it: not to be taken before
    held_by = models.TextField(db_default="")  # the host
    keys = models.BigIntegerField(db_default=0)
    pages = models.BigIntegerField(db_default=0)

    class Meta:
        verbose_name = _("slice of a sweep")
        verbose_name_plural = _("slices of sweeps")
        default_permissions = ()
        indexes = [
            models.Index(name="slice_open", fields=["sweep", "id"], condition=Q(is_done=False)),
        ]

    def __str__(self) -> str:
        return f"{self.after_key!r} to {self.until_key!r}"


class FindingState(models.TextChoices):
    SEEN = "seen", _("seen once")
    CONFIRMED = "confirmed", _("confirmed by a second look")
    MENDED = "mended", _("mended")
    GONE = "gone", _("equal at the second look")


class SweepFinding(models.Model):
    """A key that did not compare as equal, and what a second look found; the first ones of a sweep.

    ETags, sizes and times are those of the last look; empty where the side had no object.
    """

    id: int
    sweep_id: int
    sweep = models.ForeignKey(Sweep, models.CASCADE, related_name="findings", db_index=False)
    key = models.TextField(_("key"), db_collation="C")
    verdict = models.CharField(_("verdict"), max_length=9)  # see sweep/judging.py
    reason = models.TextField(_("reason"), db_default="")
    cause = models.CharField(_("cause"), max_length=16, db_default="")  # see sweep/causes.py
    code = models.CharField(_("error of the last job"), max_length=32, db_default="")
    state = models.CharField(
        _("state"), max_length=9, choices=FindingState, db_default=FindingState.SEEN
    )
    is_ordered = models.BooleanField(_("a job looks at it"), db_default=False)
    source_size = models.BigIntegerField(_("bytes at the source"), null=True)
    source_etag = models.TextField(_("ETag at the source"), db_default="")
    source_modified = models.TextField(_("changed at the source"), db_default="")
    replica_size = models.BigIntegerField(_("bytes at the destination"), null=True)
    replica_etag = models.TextField(_("ETag at the destination"), db_default="")
    replica_modified = models.TextField(_("changed at the destination"), db_default="")
    found_at = models.DateTimeField(_("found"), db_default=Now())
    look_at = models.DateTimeField(null=True)  # when the second look is due
    looks = models.IntegerField(db_default=0)

    class Meta:
        verbose_name = _("finding")
        verbose_name_plural = _("findings")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(name="one_finding_of_a_key", fields=["sweep", "key"]),
        ]
        indexes = [
            models.Index(
                name="finding_due", fields=["sweep", "look_at"], condition=Q(state="seen")
            ),
        ]

    def __str__(self) -> str:
        return self.key
