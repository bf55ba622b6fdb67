"""An operator has a full bucket copied in the admin: offered, started, paused, resumed, watched."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from replication.models import AuditEntry, EventQueue, Sweep, SweepSlice
from sandbox.oss import Fault
from tests.support.browser import OpenPage, browser, log_in, open_page
from tests.support.processes import eventually, manage
from tests.support.road import Road

__all__ = ["browser", "open_page"]

pytestmark = pytest.mark.django_db(transaction=True)

BODIES = {f"photos/<b>{number}</b> 图片.jpg": b"%d" % number for number in range(20)}


def test_a_full_bucket_is_copied_without_a_shell(
    make_road: Callable[..., Road], live_server: LiveServer, open_page: OpenPage, tmp_path: Path
) -> None:
    road = make_road()
    road.rule.delete()
    EventQueue.objects.all().delete()  # what is there already was announced to nobody
    for key, body in BODIES.items():
        road.put(key, body)
    User.objects.create_superuser("operator", "", "operator")
    visit = open_page(live_server.url)
    log_in(visit, username="operator", password="operator")
    page = visit.page

    page.goto("/admin/replication/replicationrule/add/")
    page.fill("#id_name", "photos")
    page.select_option("#id_source", road.source.name)
    page.select_option("#id_destination", road.destination.name)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text(f"20 objects are in {road.source.bucket} already.")).to_be_visible()
    page.get_by_role("link", name="Copy them").click()

    expect(page.get_by_label("Backfill")).to_be_checked()
    page.get_by_label("Requests a second").fill("50")
    page.get_by_label("Minutes until the second look").fill("0")
    page.get_by_role("button", name="Start").click()
    state = page.locator("h1 .badge")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Backfill of photos")
    expect(state).to_have_text("running")
    expect(page.get_by_text("a cluster that takes it up")).to_be_visible()

    road.oss.add_fault(Fault(operation="ListObjectsV2", hold=True, times=None))
    with manage("qcluster", directory=tmp_path, S3SYNC_POLL_IN_CLUSTER="false") as cluster:
        held = SweepSlice.objects.exclude(held_by="")
        eventually(held.exists, unless_ended=cluster)
        page.get_by_role("button", name="Pause").click()
        expect(page.locator(".messagelist")).to_have_text("1 sweep was paused.")
        expect(state).to_have_text("paused")
        road.oss.clear_faults()
        eventually(lambda: not held.exists(), unless_ended=cluster)
        assert Sweep.objects.get().source_keys == 0

        page.get_by_role("button", name="Resume").click()
        expect(page.locator(".messagelist")).to_have_text("1 sweep goes on.")
        expect(state).to_have_text("completed", timeout=90_000)  # by itself
    expect(page.locator("#live-progress")).to_contain_text("Mended 20 of 20")
    with page.expect_download() as download:
        page.get_by_role("link", name="Report (JSON)").click()
    report = json.loads(download.value.path().read_text())
    assert (report["state"], report["is_equal"], report["counts"]["ordered"]) == (
        *("completed", True),
        20,
    )
    assert {key: road.replica(key) for key in BODIES} == BODIES
    about = list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))
    assert about == ["logged_in", "added", "sweep_started", "sweeps_paused", "sweeps_resumed"]
    assert visit.complaints == []
