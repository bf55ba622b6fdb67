"""No answer to a call, allowed by docs/reference/openapi.json or not, is undocumented or a 500.

schemathesis asks over real HTTP, the same questions in each run.
"""

import re
from collections import defaultdict
from typing import Any

import pytest
import schemathesis
from django.conf import settings
from django.db.models.functions import Now
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.live_server_helper import LiveServer
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from replication.models import (
    DeadLetter,
    Job,
    JobState,
    ReplicationRule,
    Sweep,
    SweepFinding,
    SweepState,
    TransferJob,
)
from tests.support.story import make_story

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    allow_header_conformance,
]
EXAMPLES = 25


@pytest.mark.django_db(transaction=True)
def test_the_api_answers_as_its_description_says(live_server: LiveServer) -> None:
    service = make_story()
    # No key that is made up would begin with a prefix.
    ReplicationRule.objects.filter(name="photos").update(source_prefix="")
    job = Job.objects.filter(state=JobState.FAILED).latest("pk")
    sweep = Sweep.objects.get(rule=service.other_rule)
    SweepFinding.objects.create(sweep=sweep, key="a", verdict="missing", cause="lost")

    def known_values(*, is_failed: bool) -> dict[str, Any]:
        """Names and ids of rows that exist; the job is failed or pending."""
        state = JobState.FAILED if is_failed else JobState.PENDING
        finalized_at = Now() if is_failed else None
        TransferJob.objects.filter(pk=job.pk).update(state=state, finalized_at=finalized_at)
        letter, _ = DeadLetter.objects.get_or_create(
            message_id="again", queue=service.queue, defaults={"body": "?", "received_at": Now()}
        )
        # A rule without a sweep can start one; the sweep of another rule is paused, or runs.
        Sweep.objects.filter(rule__name="photos").update(state=SweepState.CANCELLED)
        sweep_state = SweepState.PAUSED if is_failed else SweepState.RUNNING
        Sweep.objects.filter(pk=sweep.pk).update(state=sweep_state)
        names = {"name": "photos", "job_id": job.pk, "letter_id": letter.pk}
        return names | {"sweep_id": sweep.pk}

    reached: dict[str, set[int]] = defaultdict(set)
    token = settings.S3SYNC.api_tokens[0]
    description = schemathesis.openapi.from_path(settings.BASE_DIR / "docs/reference/openapi.json")
    for found in description.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # raises if it is an error
        cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))

        @hypothesis_settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases, about=st.sampled_from(["anything", "a failed job", "a pending job"]))
        def ask(case: Any, about: str) -> None:
            if about != "anything":
                names = re.findall(r"{(\w+)}", case.path)
                values = known_values(is_failed=about == "a failed job")
                case.path_parameters = {name: values[name] for name in names}
            # The description requires a token; schemathesis would invent one.
            case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}
            answer = case.call(base_url=live_server.url)
            reached[case.operation.label].add(answer.status_code)
            case.validate_response(answer, checks=CHECKS)

        ask()
    assert {label for label, statuses in reached.items() if not statuses & {200, 202, 204}} == set()
    assert {status for statuses in reached.values() for status in statuses} >= {404, 409, 422}
