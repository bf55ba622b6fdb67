"""/metrics is well-formed, documented and true; alerts and dashboard use only its metrics."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import promql_parser
import pytest
from django.conf import settings
from django.db import connection
from django.db.models import F
from django.test import Client
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from replication import jobs
from replication.errors import ErrorCode, ReplicationError
from replication.jobs import ClaimedJob
from replication.models import (
    CompletedMinute,
    Job,
    JobState,
    LoopKind,
    Outcome,
    ReplicationRule,
    TokenRole,
    TransferJob,
)
from replication.monitoring.metrics import fold_minutes
from replication.operations.retention import prune
from replication.transfer.results import Completion
from tests.api.callers import a_caller
from tests.support.examples import a_rule
from tests.support.story import make_job, make_story
from tests.support.threads import at_once

DOCUMENT = (settings.BASE_DIR / "docs/reference/metrics.md").read_text()
ALERTS = YAML(typ="safe").load(settings.BASE_DIR / "deploy" / "prometheus" / "alerts.yml")
DASHBOARD = json.loads((settings.BASE_DIR / "deploy" / "grafana" / "dashboard.json").read_text())


def scraped(client: Client) -> dict[str, Metric]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(answer.content.decode()))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def value(families: dict[str, Metric], sample_name: str, **labels: str) -> float | None:
    """The value of the only sample with this name and these labels; None if there is none."""
    samples = [sample for family in families.values() for sample in family.samples]
    found = [
        sample.value
        for sample in samples
        if sample.name == sample_name and labels.items() <= sample.labels.items()
    ]
    assert len(found) <= 1
    return found[0] if found else None


def finish(rule: ReplicationRule, *, size_bytes: int = 10, lag_seconds: float = 1) -> None:
    """Complete a job of the rule as a lane does."""
    job = make_job(rule, f"{lag_seconds} {size_bytes}", JobState.RUNNING, age=timedelta(0))
    TransferJob.objects.filter(pk=job.pk).update(
        event_at=F("event_at") - timedelta(seconds=lag_seconds)
    )
    assert jobs.complete([(claimed(job), Completion(Outcome.COPIED, size_bytes=size_bytes))])


def claimed(job: Job) -> ClaimedJob:
    assert job.started_at
    return ClaimedJob(
        job.id,
        0,
        job.rule_id,
        job.key,
        job.attempt,
        job.attempt_limit,
        job.started_at,
        rule_version=1,
    )


def fail(rule: ReplicationRule, key: str, code: ErrorCode) -> None:
    job = make_job(rule, key, JobState.RUNNING)
    assert jobs.fail(claimed(job), ReplicationError(code)) is JobState.FAILED


@pytest.fixture
def reader(db: None) -> Client:
    return a_caller("prometheus", TokenRole.READ)


def test_a_scrape_agrees_with_the_database(reader: Client):
    service = make_story()
    for lag_seconds in (0.3, 0.3, 90):
        finish(service.rule, lag_seconds=lag_seconds)
    fail(service.rule, "x", ErrorCode.SOURCE_KMS)
    families = scraped(reader)
    assert value(families, "s3sync_jobs", rule="photos", state="running") == 1
    assert value(families, "s3sync_jobs", rule="photos", state="pending") == 5
    assert value(families, "s3sync_jobs_retrying", rule="photos") == 1
    assert value(families, "s3sync_jobs_completed_total", rule="photos") == 3
    assert value(families, "s3sync_copied_bytes_total", rule="photos") == 30
    assert value(families, "s3sync_lag_seconds_bucket", rule="photos", le="0.4") == 2
    assert value(families, "s3sync_lag_seconds_bucket", rule="photos", le="+Inf") == 3
    assert value(families, "s3sync_unsuccessful_tries_total", code="source_kms") == 1
    assert value(families, "s3sync_loops", host="worker-1", kind=LoopKind.LANE) == 1
    assert value(families, "s3sync_dead_letters", queue="s3-events") == 2
    assert value(families, "s3sync_problem", code="dead_letters", queue="s3-events") == 1
    assert value(families, "s3sync_healthy") == 0
    # NaN is not equal to itself.
    assert (depth := value(families, "s3sync_queue_depth")) != depth


def test_every_metric_is_documented_and_expressions_use_no_others(reader: Client):
    service = make_story()
    finish(service.rule)
    fail(service.rule, "x", ErrorCode.SOURCE_KMS)
    families = scraped(reader)
    assert [family.name for family in families.values() if not family.documentation] == []
    documented = re.findall(r"^\| `(\w+)` \| (\w+) \|", DOCUMENT, re.MULTILINE)
    assert dict(documented) == {
        f"{name}_total" if family.type == "counter" else name: family.type
        for name, family in families.items()
    }
    # `up` is Prometheus's own metric for a scrape target.
    samples = {"up"} | {sample.name for family in families.values() for sample in family.samples}
    expressions = [*alert_expressions(), *dashboard_expressions()]
    assert len(expressions) > 30
    used: set[str] = set()
    for expression in expressions:
        used |= set(metrics_of(promql_parser.parse(expression)))
    assert used - samples == set()


def alert_expressions() -> Iterator[str]:
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            assert rule["labels"]["severity"] in {"critical", "warning"}
            assert set(rule["annotations"]) == {"summary", "description"}
            yield rule["expr"]


def dashboard_expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "5m")
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"].removeprefix("label_values(").split(",")[0]


def metrics_of(node: Any) -> Iterator[str]:
    """Yield the names of the metrics in a parsed expression."""
    match node:
        case promql_parser.VectorSelector():
            yield str(node.name)
        case promql_parser.MatrixSelector():
            yield str(node.vector_selector.name)
        case promql_parser.BinaryExpr():
            yield from metrics_of(node.lhs)
            yield from metrics_of(node.rhs)
        case promql_parser.Call():
            for argument in node.args:
                yield from metrics_of(argument)
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            pass
        case _:
            yield from metrics_of(node.expr)


def test_counters_keep_counting_when_the_minutes_are_folded_and_deleted(reader: Client):
    rule = a_rule("photos")

    def completed() -> tuple[float | None, ...]:
        families = scraped(reader)
        return (
            value(families, "s3sync_jobs_completed_total", rule="photos"),
            value(families, "s3sync_copied_bytes_total", rule="photos"),
            value(families, "s3sync_lag_seconds_bucket", rule="photos", le="1.6"),
        )

    assert completed() == (0, 0, 0)
    for hours in (0, 1, 2, 100):
        finish(rule, size_bytes=2**50)
        CompletedMinute.objects.filter(minute__gt=_now() - timedelta(minutes=5)).update(
            minute=F("minute") - timedelta(hours=hours + 1)
        )
    finish(rule, size_bytes=1)
    for _ in range(3):
        assert completed() == (5, 4 * 2**50 + 1, 5)
        prune(seconds=10)
    assert not CompletedMinute.objects.filter(minute__lt=_now() - timedelta(days=3)).exists()
    finish(rule, size_bytes=1)
    assert completed() == (6, 4 * 2**50 + 2, 6)


@pytest.mark.django_db(transaction=True)
def test_concurrent_folds_count_nothing_twice():
    finish(a_rule("photos"))
    CompletedMinute.objects.update(minute=F("minute") - timedelta(hours=3))
    at_once(*[fold_minutes] * 4)
    families = scraped(a_caller("prometheus", TokenRole.READ))
    assert value(families, "s3sync_jobs_completed_total", rule="photos") == 1


def test_a_scrape_without_a_token_gets_401_unless_metrics_are_public(
    client: Client, db: None, limits: Any
):
    answer = client.get("/metrics")
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
    assert client.post("/metrics").status_code == 405
    limits(metrics_public=True)
    assert value(scraped(client), "s3sync_healthy") == 0


def _now() -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        return cursor.fetchone()[0]
