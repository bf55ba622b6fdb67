"""The admin in a real browser: no page violates the Content-Security-Policy, logs an error, or is
wider than the window; in light and dark, on a desktop and on a phone."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.urls import reverse
from playwright.sync_api import Route, expect

from replication.models import (
    DeadLetter,
    EventQueue,
    FailedJob,
    Job,
    JobState,
    ReplicationRule,
    Sweep,
    SweepFinding,
    SweepSlice,
    SweepState,
)
from replication.operations import confirmations
from tests.admin.pages import FORMS, LISTS, add_url, change_url, list_url
from tests.support.browser import OpenPage, Visit, log_in
from tests.support.held import held_keys, hold, hold_many
from tests.support.story import ODD_KEYS, Service, make_story

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def story(transactional_db: None) -> Service:
    User.objects.create_superuser("operator", "", "operator")
    return make_story()


@pytest.fixture
def log_in_page(open_page: OpenPage, live_server) -> Callable[..., Visit]:
    def open_(**options) -> Visit:
        visit = open_page(live_server.url, **options)
        log_in(visit, username="operator", password="operator")
        return visit

    return open_


def every_page(service: Service) -> list[str]:
    jobs = [Job.objects.filter(state=state).latest("id") for state in JobState]
    jobs += Job.objects.filter(key__startswith="photos/faithful/")
    odd = Job.objects.filter(key__startswith="xxx").latest("id")
    rule = service.rule
    return [
        reverse("admin:index"),
        reverse("second_factor"),
        reverse("admin:auth_user_changelist"),
        *map(list_url, LISTS),
        *map(add_url, FORMS),
        *(change_url("transferjob", job.pk) for job in [*jobs, odd]),
        *(change_url("deadletter", letter.pk) for letter in DeadLetter.objects.all()),
        change_url("replicationrule", rule.pk),
        change_url("replicationrule", service.other_rule.pk),
        change_url("source", rule.source_id),
        change_url("destination", rule.destination_id),
        change_url("eventqueue", service.queue.pk),
        *(change_url("sweep", sweep.pk) for sweep in Sweep.objects.all()),
        *(change_url("sweepfinding", finding.pk) for finding in SweepFinding.objects.all()[:3]),
        *(f"{list_url('sweepfinding')}?sweep={sweep.pk}" for sweep in Sweep.objects.all()),
        reverse("admin:replication_replicationrule_sweep", args=[rule.pk]),
        reverse("admin:replication_replicationrule_look_again", args=[rule.pk]),
        reverse("admin:replication_replicationrule_confirm_deletes", args=[rule.pk]),
        reverse("admin:replication_replicationrule_delete", args=[rule.pk]),
        reverse("admin:replication_source_delete", args=[rule.source_id]),
        reverse("admin:replication_replicationrule_history", args=[rule.pk]),
        list_url("transferjob") + "?state=failed",
        list_url("transferjob") + "?q=photos/",
        list_url("transferjob") + "?outcome=skipped",
    ]


def test_every_page_loads_without_errors_and_fits_wide_and_narrow_windows(
    story: Service, log_in_page: Callable[..., Visit]
) -> None:
    EventQueue.objects.update(last_error="AccessDenied: " + "x" * 300)
    visit = log_in_page()
    too_wide = {}
    for url in every_page(story):
        visit.page.goto(url, wait_until="load")
        for width in (1280, 390):
            visit.page.set_viewport_size({"width": width, "height": 844})
            if visit.overflow_px > 0:
                too_wide[url, width] = visit.overflow_px
    assert too_wide == {}
    assert visit.complaints == []


def test_sixteen_jobs_fit_on_a_screen(story: Service, log_in_page: Callable[..., Visit]) -> None:
    visit = log_in_page()
    visit.page.goto(list_url("transferjob"))
    row = visit.page.locator("#result_list tbody tr").first.bounding_box()
    assert row
    assert (800 - row["y"]) / row["height"] >= 16


def test_an_operator_retries_failures_with_the_action(
    story: Service, log_in_page: Callable[..., Visit]
) -> None:
    failed = [job.pk for job in FailedJob.objects.filter(rule=story.rule)]
    visit = log_in_page()
    page = visit.page
    page.goto(list_url("failedjob"))
    page.locator("#changelist-filter").get_by_role("link", name="photos").click()
    page.check("#action-toggle")
    expect(page.locator(".action-counter")).to_have_text(f"{len(failed)} of {len(failed)} selected")
    page.select_option("select[name=action]", "retry")
    page.get_by_role("button", name="Go").click()
    expect(page.locator(".messagelist")).to_have_text(f"{len(failed)} jobs will be retried.")
    page.goto(change_url("transferjob", failed[0]))
    expect(page.locator("h1 .badge")).to_have_text("retrying")
    assert set(Job.objects.filter(pk__in=failed).values_list("state", flat=True)) == {
        JobState.PENDING
    }
    assert visit.complaints == []


def test_an_operator_retries_and_cancels_on_a_phone(
    story: Service, log_in_page: Callable[..., Visit]
) -> None:
    job = FailedJob.objects.filter(rule=story.rule).latest("id")
    visit = log_in_page(width=390, height=844)
    page = visit.page
    page.goto(list_url("failedjob"))
    page.locator(f"a[href='{change_url('transferjob', job.pk)}']").click()
    page.get_by_role("button", name="Retry this job").click()
    expect(page.locator(".messagelist")).to_have_text("1 job will be retried.")
    page.get_by_role("button", name="Cancel this job").click()
    expect(page.locator(".messagelist")).to_have_text("1 job was cancelled.")
    assert visit.complaints == []


def test_an_operator_adds_a_source_from_the_form_of_a_rule(
    story: Service, log_in_page: Callable[..., Visit]
) -> None:
    visit = log_in_page()
    page = visit.page
    page.goto(add_url("replicationrule"))
    with page.expect_popup() as popup:
        page.click("#add_id_source")
    form = popup.value
    form.fill("#id_name", "scans-source")
    form.fill("#id_bucket", "acme-scans")
    form.fill("#id_region", "ap-east-1")
    form.click("text=Add another Domain")
    form.fill("#id_domains-1-domain", "scans.example.com")
    with form.expect_event("close"):
        form.click("input[name=_save]")
    expect(page.locator("#id_source option:checked")).to_have_text("scans-source")
    assert visit.complaints == []


def test_an_operator_enters_keys_to_look_at_again(
    story: Service, log_in_page: Callable[..., Visit]
) -> None:
    visit = log_in_page()
    page = visit.page
    page.goto(change_url("replicationrule", story.rule.pk))
    page.get_by_role("link", name="Look again").click()
    page.fill("#id_keys", "photos/lost one.jpg\nphotos/<b>.jpg")
    page.get_by_role("button", name="Look again").click()
    expect(page.locator(".messagelist")).to_have_text("2 keys will be looked at again.")
    assert Job.objects.filter(key="photos/<b>.jpg", state=JobState.PENDING).exists()
    assert visit.complaints == []


@pytest.mark.parametrize("width", [1280, 390])
def test_an_operator_looks_at_the_held_deletes_and_confirms_them(
    story: Service, log_in_page: Callable[..., Visit], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmations, "BATCH", 200)
    monkeypatch.setattr(confirmations, "BATCHES_PER_STEP", 2)
    rule = story.rule
    ReplicationRule.objects.filter(pk=rule.pk).update(max_deletes_per_hour=10)
    hold(rule, *ODD_KEYS)
    hold_many(rule, 1200, key="'photos/' || n %% 7 || '/a folder/' || n || '.tif'")
    count = len(ODD_KEYS) + 1200
    visit = log_in_page(width=width)
    page = visit.page
    page.goto(change_url("replicationrule", rule.pk))
    expect(page.get_by_text("This rule stopped deleting")).to_contain_text(
        f"Deletes that wait: {count:,}."
    )
    page.get_by_role("link", name="Look at them and confirm").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(
        f"Delete {count:,} replicas in photos-hangzhou?"
    )
    assert visit.overflow_px == 0
    hold(rule, "photos/unseen")
    page.get_by_label("type the number").fill(str(count))
    page.get_by_role("button", name=f"Delete {count:,} replicas").click()
    expect(page.get_by_text("Nothing was confirmed: 1 more delete")).to_be_visible()
    page.get_by_label("type the number").fill(f"{count + 1:,}")
    page.get_by_role("button", name=f"Delete {count + 1:,} replicas").click()
    expect(page.get_by_text(f"{count + 1:,} deletes were confirmed and continue.")).to_be_visible(
        timeout=60_000
    )
    assert visit.overflow_px == 0
    expect(page.get_by_text("The rule deletes again")).to_be_visible()
    expect(page.get_by_text("The server did not answer as expected")).to_be_hidden()
    assert held_keys(rule) == set()
    assert visit.complaints == []


def test_a_confirmation_that_gets_no_answer_goes_on_by_its_button(
    story: Service, log_in_page: Callable[..., Visit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmations, "BATCH", 1)
    monkeypatch.setattr(confirmations, "BATCHES_PER_STEP", 1)
    hold(story.rule, *"abc")
    visit = log_in_page()
    page = visit.page
    page.goto(reverse("admin:replication_replicationrule_confirm_deletes", args=[story.rule.pk]))
    page.route("**/confirm-deletes/*/", _cut)
    page.get_by_role("button", name="Delete 3 replicas").click()
    expect(page.get_by_text("The server did not answer as expected")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("1 of 3 deletes are confirmed.")).to_be_visible()
    page.unroute("**/confirm-deletes/*/")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("3 deletes were confirmed and continue.")).to_be_visible(timeout=60_000)
    assert visit.overflow_px == 0


def _cut(route: Route) -> None:
    """Cut the requests of a script; let the page itself be loaded."""
    if route.request.resource_type == "fetch":
        route.abort()
    else:
        route.continue_()


def test_enter_in_a_field_of_a_braked_rule_saves_the_rule_and_confirms_no_delete(
    story: Service, log_in_page: Callable[..., Visit]
) -> None:
    rules = ReplicationRule.objects.filter(pk=story.rule.pk)
    rules.update(braked_at=Now())
    visit = log_in_page()
    visit.page.goto(change_url("replicationrule", story.rule.pk))
    visit.page.get_by_label("Name").press("Enter")
    expect(visit.page.get_by_text("was changed successfully")).to_be_visible()
    assert rules.get().braked_at is not None


def test_the_page_of_a_sweep_follows_it_and_leaves_the_reader_alone(
    story: Service, log_in_page: Callable[..., Visit]
) -> None:
    sweep = Sweep.objects.get(state=SweepState.RUNNING)
    visit = log_in_page()
    page = visit.page
    page.clock.install()
    page.goto(change_url("sweep", sweep.pk))
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#live-slices h2'))")
    page.evaluate("scrollTo(0, 300)")
    page.locator("#id_requests_per_second").evaluate("input => { input.value = '7'; }")

    def five_seconds_later(**changed: object) -> None:
        Sweep.objects.filter(pk=sweep.pk).update(**changed)
        SweepSlice.objects.filter(sweep=sweep, held_by="").update(is_done=True)
        page.clock.run_for(5_500)

    five_seconds_later(equal=1_890_000)
    expect(page.locator("#live-progress")).to_contain_text("1,890,000")
    assert page.evaluate("getSelection().toString()").startswith("Slices 24 of 40 done")
    assert page.evaluate("scrollY") == 300
    assert page.input_value("#id_requests_per_second") == "7"  # not sent yet
    page.evaluate("getSelection().removeAllRanges()")
    page.evaluate("document.activeElement.blur()")
    five_seconds_later(state=SweepState.COMPLETED, ended_at=Now())
    expect(page.locator("h1 .badge")).to_have_text("completed")
    expect(page.locator("#live-slices")).to_contain_text("36 of 40 done")
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    expect(page.locator("#live-limits")).to_be_empty()
    assert visit.complaints == []


def test_the_page_of_a_sweep_says_when_it_may_be_old(
    story: Service, log_in_page: Callable[..., Visit]
) -> None:
    sweep = Sweep.objects.get(state=SweepState.RUNNING)
    page = log_in_page().page
    page.clock.install()
    page.goto(change_url("sweep", sweep.pk))
    page.route("**/change/", _cut)
    page.clock.run_for(5_500)
    expect(page.get_by_text("The server did not answer as expected")).to_be_visible()
    page.unroute("**/change/")
    page.clock.run_for(5_500)
    expect(page.get_by_text("The server did not answer as expected")).to_be_hidden()
