"""An operator finds a wrong secret in the admin, corrects it and retries the failed job."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from replication.models import Destination, Job, JobState
from tests.support.browser import OpenPage, browser, log_in, open_page
from tests.support.environment import OSS_KEY_ID, OSS_KEY_SECRET
from tests.support.processes import eventually, manage
from tests.support.road import Road

__all__ = ["browser", "open_page"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_wrong_oss_secret_is_shown_and_after_its_correction_the_job_completes_by_itself(
    make_road: Callable[..., Road], live_server: LiveServer, open_page: OpenPage, tmp_path: Path
) -> None:
    profile = tmp_path / "secrets" / "writer"
    profile.mkdir(parents=True)
    (profile / "access_key_id").write_text(OSS_KEY_ID)
    (profile / "access_key_secret").write_text("not the right one")
    road = make_road()
    Destination.objects.update(credential_profile="writer")
    User.objects.create_superuser("operator", "", "operator")
    with manage("qcluster", directory=tmp_path, S3SYNC_SECRETS_DIR=str(profile.parent)) as cluster:
        road.put("report.pdf", b"%PDF")
        tried = Job.objects.filter(state=JobState.PENDING, attempt__gt=0)
        eventually(tried.exists, unless_ended=cluster)

        visit = open_page(live_server.url)
        log_in(visit, username="operator", password="operator")
        page = visit.page
        page.goto(f"{live_server.url}/status/")
        problems = page.locator(".need-error").first
        expect(problems).to_contain_text("1 job not getting through")
        expect(problems).to_contain_text("its secret or the security token is wrong")
        expect(problems).to_contain_text("Correct the AccessKey of the destination's credential")
        page.goto(f"{live_server.url}/admin/replication/transferjob/")
        page.get_by_role("link", name="report.pdf").click()
        expect(page.locator("#content")).to_contain_text("403 SignatureDoesNotMatch")
        # Neither the page nor the cluster's log shows the secret.
        assert "not the right one" not in page.content() + cluster.log.read_text()

        (profile / "access_key_secret").write_text(OSS_KEY_SECRET)
        eventually(lambda: road.replica("report.pdf") == b"%PDF", unless_ended=cluster)
        job = eventually(
            lambda: Job.objects.filter(state=JobState.COMPLETED).first(),
            unless_ended=cluster,
        )
        assert job is not None
        assert {attempt.code for attempt in job.tries} == {"destination_credentials"}
        assert visit.complaints == []
