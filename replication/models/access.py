"""API tokens, and the audit of everything that people do by hand."""

import json
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from replication.models.rules import ReplicationRule
from replication.models.validators import NAME


class TokenRole(models.TextChoices):
    READ = "read", _("read: may view everything")
    OPERATE = "operate", _("operate: may also send events, pause, resume, retry, replay")


class ApiToken(models.Model):
    """A caller of the API. Its secret is shown once, and only a hash of the secret is stored."""

    id: int
    name = models.CharField(_("name"), max_length=63, unique=True, validators=[NAME])
    role = models.CharField(
        _("role"), max_length=7, choices=TokenRole, default=TokenRole.READ, db_default="read"
    )
    # A fast hash is enough: the secret is 32 random bytes, which nobody can guess.
    secret_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(
        _("begins with"),
        max_length=16,
        editable=False,
        help_text=_("The first characters of the secret, to recognise it if it leaks."),
    )
    created_by = models.CharField(_("created by"), max_length=150, editable=False)
    created_at = models.DateTimeField(_("created at"), editable=False)
    last_used_at = models.DateTimeField(
        _("last used"), null=True, editable=False, help_text=_("Accurate to the minute.")
    )
    revoked_at = models.DateTimeField(_("revoked at"), null=True, editable=False)
    ends_at = models.DateTimeField(
        _("ends at"),
        null=True,
        blank=True,
        help_text=_("Calls are refused from then on. Empty: the token has no end."),
    )
    # Not whether there are rules: a token whose last rule is deleted must not reach all others.
    is_bound = models.BooleanField(
        _("bound to rules"), default=False, db_default=False, editable=False
    )
    rules = models.ManyToManyField(
        ReplicationRule,
        blank=True,
        verbose_name=_("rules"),
        help_text=_("The token sees and touches these rules alone. None: all rules."),
    )

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="token_role_is_known", condition=Q(role__in=TokenRole.values)
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse an end in the past: the token would never work."""
        if self.ends_at and self.ends_at <= timezone.now():
            raise ValidationError({"ends_at": _("This time is over. Choose a later one.")})


class SignOnIdentity(models.Model):
    """Who a user is at the identity provider. A user without one logs in with a password."""

    id: int
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="sign_on", verbose_name=_("user")
    )
    issuer = models.CharField(_("issuer"), max_length=500)
    subject = models.CharField(_("subject"), max_length=255)

    class Meta:
        verbose_name = _("identity of single sign-on")
        verbose_name_plural = _("identities of single sign-on")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(name="sign_on_identity_once", fields=["issuer", "subject"])
        ]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"


class RecoveryCode(models.Model):
    """Lets a user log in once without the authenticator app. Only a hash of the code is stored."""

    id: int
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user")
    )
    # A fast hash is enough: a code is 80 random bits.
    sha256 = models.CharField(max_length=64, editable=False)

    class Meta:
        verbose_name = _("recovery code")
        verbose_name_plural = _("recovery codes")
        default_permissions = ()

    def __str__(self) -> str:
        return f"recovery code of {self.user}"


class ActorKind(models.TextChoices):
    USER = "user", _("user")
    TOKEN = "token", _("API token")
    COMMAND = "command", _("command line")


class AuditAction(models.TextChoices):
    JOBS_RETRIED = "jobs_retried", _("retried jobs")
    JOBS_CANCELLED = "jobs_cancelled", _("cancelled jobs")
    RULES_PAUSED = "rules_paused", _("paused rules")
    RULES_RESUMED = "rules_resumed", _("resumed rules")
    DELETES_CONFIRMED = "deletes_confirmed", _("confirmed deletes")
    LOOKED_AGAIN = "looked_again", _("looked again at keys")
    LETTERS_REPLAYED = "letters_replayed", _("replayed dead letters")
    LETTERS_DELETED = "letters_deleted", _("deleted dead letters")
    TOKEN_CREATED = "token_created", _("created an API token")
    TOKENS_REVOKED = "tokens_revoked", _("revoked API tokens")
    TARGETS_TESTED = "targets_tested", _("sent test messages")
    SWEEP_STARTED = "sweep_started", _("started a sweep")
    SWEEPS_PAUSED = "sweeps_paused", _("paused sweeps")
    SWEEPS_RESUMED = "sweeps_resumed", _("resumed sweeps")
    SWEEPS_CANCELLED = "sweeps_cancelled", _("cancelled sweeps")
    SWEEPS_LIMITED = "sweeps_limited", _("changed the limits of sweeps")
    LOGGED_IN = "logged_in", _("logged in")
    LOGGED_OUT = "logged_out", _("logged out")
    LOGIN_FAILED = "login_failed", _("failed to log in")
    LOGIN_REFUSED = "login_refused", _("was refused a login")
    PASSWORD_CHANGED = "password_changed", _("changed the own password")
    FACTOR_SET = "factor_set", _("set up a second factor")
    FACTOR_REMOVED = "factor_removed", _("removed second factors")
    RECOVERY_USED = "recovery_used", _("used a recovery code")
    ADDED = "added", _("added")
    CHANGED = "changed", _("changed")
    DELETED = "deleted", _("deleted")


class AuditEntry(models.Model):
    """One action by hand. The entry is written before the action, and completed after it.

    An entry without `ended_at` was interrupted; a part of its action may have been done.
    """

    id: int
    actor_kind = models.CharField(_("actor type"), max_length=7, choices=ActorKind)
    # A name, because it outlives the user or token.
    actor = models.CharField(_("actor"), max_length=150)
    action = models.CharField(_("action"), max_length=20, choices=AuditAction)
    about = models.TextField(_("subject"))
    # Only of logins.
    address = models.GenericIPAddressField(_("address"), null=True)
    began_at = models.DateTimeField(_("began at"))
    ended_at = models.DateTimeField(_("ended at"), null=True)
    affected = models.IntegerField(
        _("number affected"), null=True, help_text=_("How many objects the action changed.")
    )

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit")
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                name="audit_action_is_known", condition=Q(action__in=AuditAction.values)
            ),
        ]
        indexes = [
            # retention: the oldest entries
            models.Index(name="audit_began", fields=["began_at"]),
            # logins_audit.has_logged_in
            models.Index(
                name="audit_logins", fields=["actor", "address"], condition=Q(action="logged_in")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.actor}: {self.get_action_display()}"


class AnyJson(json.JSONDecoder):
    """Reads what Python does not read (a number of 5,000 digits, a thousand levels) as its text.

    PostgreSQL stores it, and one such row must not keep people from all others.
    """

    def decode(self, s: str, *args: Any) -> Any:
        try:
            return super().decode(s, *args)
        except (ValueError, RecursionError):
            return s


class ConfigurationChange(models.Model):
    """One change of a row that people configure, with what it was and what it became.

    PostgreSQL writes it by triggers, so that no way of changing a row goes around it: the admin, a
    command, a shell. The tables and columns are in migration 0038; what the service itself
    writes is left out, and so are passwords.
    """

    id: int
    made_at = models.DateTimeField(_("made at"))
    # Which changes belong together, and the entry that was written in the same transaction.
    transaction = models.BigIntegerField()
    entry = models.ForeignKey(
        AuditEntry,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="changes",
        verbose_name=_("audit entry"),
    )
    database_user = models.CharField(_("database user"), max_length=63)
    client = models.CharField(_("client of the database"), max_length=130)
    table = models.CharField(_("table"), max_length=63)
    row = models.TextField(_("row"))
    # Null of a row that was added or deleted; else the changed columns alone.
    before = models.JSONField(_("before"), null=True, decoder=AnyJson)
    after = models.JSONField(_("after"), null=True, decoder=AnyJson)

    class Meta:
        verbose_name = _("change of the configuration")
        verbose_name_plural = _("changes of the configuration")
        default_permissions = ("view",)
        indexes = [
            # retention: the oldest changes
            models.Index(name="change_made", fields=["made_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.table} {self.row}"
