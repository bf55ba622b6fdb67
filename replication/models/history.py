"""The history: one row for each job that ended, and the queue and the history read as one list.

The history is append-only and partitioned by day, so that whatever runs all the time never touches
what grows, and retention drops a day without touching its rows; see jobs/history.py, which makes
and drops the days, and docs/decisions/history.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import models
from django.utils.dateparse import parse_datetime
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from replication.errors import MEANINGS, ErrorCode
from replication.models.jobs import JobFields, JobState, Outcome, TransferAttempt
from replication.models.locations import Destination, Source
from replication.models.rules import ReplicationRule

Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True)
class Try:
    """One unsuccessful try."""

    number: int
    started_at: datetime
    ended_at: datetime
    code: str
    detail: str
    request_id: str

    @property
    def length(self) -> timedelta:
        return self.ended_at - self.started_at

    @property
    def cause(self) -> str:
        return MEANINGS[ErrorCode(self.code)].cause

    @property
    def hint(self) -> str:
        return MEANINGS[ErrorCode(self.code)].hint


class ProofFields(JobFields):
    """What a job leaves behind when it ends."""

    outcome = models.CharField(_("outcome"), max_length=12, choices=Outcome, null=True)  # noqa: DJ001 - null unless the job completed
    source_etag = models.TextField(_("source ETag"), default="")
    source_version_id = models.TextField(_("source version"), default="")
    source_crc64 = models.TextField(_("CRC-64 of the bytes read"), default="")
    source_request_id = models.TextField(_("source request id"), default="")
    source_checksum = models.TextField(_("compared source checksum"), default="")
    destination_etag = models.TextField(_("destination ETag"), default="")
    destination_crc64 = models.TextField(_("CRC-64 from OSS"), default="")
    destination_request_id = models.TextField(_("destination request id"), default="")
    # One line for each thing that the replica lacks or has in another form, and for tags that were
    # set without a copy.
    remarks = models.TextField(_("remarks"), default="")
    # The rule under which the bytes moved, as it was; null if none moved, or if the job ended
    # before such versions were kept.
    rule_version = models.BigIntegerField(_("version of the rule"), null=True)
    # The unsuccessful tries as a JSON array of objects; null if there were none.
    tries_json = models.JSONField(_("unsuccessful tries"), null=True, db_column="tries")

    class Meta:
        abstract = True


class EndedJob(ProofFields):
    """A row of the history. Its id is the one that the job had in the queue.

    Unmanaged, because Django can't declare partitions: a migration has the table.
    """

    # Without a constraint: the job had one in the queue, and a rule with history can't be deleted.
    rule = models.ForeignKey(
        ReplicationRule, models.DO_NOTHING, related_name="+", db_constraint=False
    )

    class Meta:
        managed = False
        default_permissions = ()
        db_table = "replication_endedjob"


class Job(ProofFields):
    """A job wherever it is, in the queue or in the history: what people and programs read.

    A view of both tables, which a migration has. Only `TransferJob` can be changed.
    """

    rule = models.ForeignKey(
        ReplicationRule,
        models.PROTECT,
        related_name="jobs",
        db_constraint=False,
        verbose_name=_("rule"),
    )
    lease_expires_at = models.DateTimeField(_("lease until"), null=True)
    claimed_by = models.UUIDField(_("lane"), null=True)

    class Meta:
        managed = False
        default_permissions = ()
        db_table = "replication_job"
        verbose_name = _("job")
        verbose_name_plural = _("jobs")

    @property
    def lag(self) -> timedelta | None:
        """From the announcement of the oldest change until completion; None before completion."""
        if self.state != JobState.COMPLETED or self.finalized_at is None:
            return None
        return self.finalized_at - self.event_at

    @property
    def tries(self) -> Sequence[Try]:
        """The unsuccessful tries that are kept, the first one first; `attempt` counts them all."""
        if self.tries_json is None:
            fields = ("number", "started_at", "ended_at", "code", "detail", "request_id")
            rows = TransferAttempt.objects.filter(job_id=self.pk).order_by("number")
            return [Try(*row) for row in rows.values_list(*fields)]
        return [
            Try(**(one | {name: _moment(one[name]) for name in ("started_at", "ended_at")}))
            for one in self.tries_json
        ]

    @cached_property
    def rule_then(self) -> ReplicationRule:
        """The rule with its source and destination as they were when the bytes moved, unsaved; as
        they are now, if that is not known."""
        if self.rule_version is None:
            return self.rule
        version = RuleVersion.objects.filter(rule=self.rule_id, version=self.rule_version).first()
        return version.as_rule() if version else self.rule


class RuleVersion(models.Model):
    """A rule as an operator set it, with both its places; the database keeps each version.

    A trigger writes these rows, whatever makes the change. The history names the version.
    """

    rule = models.ForeignKey(
        ReplicationRule, models.CASCADE, related_name="versions", db_index=False
    )
    version = models.BigIntegerField(_("version"))
    made_at = models.DateTimeField(_("made at"))
    # The columns of the three rows, without those that the service itself writes.
    rule_columns = models.JSONField()
    source_columns = models.JSONField()
    destination_columns = models.JSONField()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(name="rule_version_kept_once", fields=["rule", "version"]),
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} version {self.version}"

    def as_rule(self) -> ReplicationRule:
        """The rule of this version with its source and destination, not to be saved."""
        rule = _instance(ReplicationRule, self.rule_columns)
        rule.source = _instance(Source, self.source_columns)
        rule.destination = _instance(Destination, self.destination_columns)
        return rule


def _instance(model: type[Row], columns: dict[str, Any]) -> Row:
    """A row from its columns in JSON; columns that a later version dropped are left out."""
    known = {
        field.attname: field.to_python(columns[field.column])
        for field in model._meta.concrete_fields
        if field.column in columns
    }
    return model(**known)


def _moment(text: str) -> datetime:
    moment = parse_datetime(text)
    assert moment is not None
    return moment
