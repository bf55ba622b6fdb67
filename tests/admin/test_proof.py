"""The proof of a job: the verdict on the page, the file, and the progress of a large object."""

import re
from dataclasses import fields

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from replication.admin.uploads_under_way import upload_progress
from replication.models import EndedJob, Job, JobOrigin, JobState, Outcome, ReplicationRule
from replication.operations.proof import FORMAT, DestinationProof, Proof, SourceProof
from tests.admin.pages import change_url
from tests.support.story import (
    NO_COPY,
    SKIPPED,
    UNCHANGED,
    WITH_REMARKS,
    Service,
    make_job,
    make_upload,
)

DOCUMENT = (settings.BASE_DIR / "docs/guides/proof.md").read_text()
MIB = 1024**2


def page_of(client: Client, job: Job) -> str:
    response = client.get(change_url("transferjob", job.pk))
    assert response.status_code == 200
    return response.content.decode()


def download(client: Client, job_id: int):
    return client.get(reverse("admin:replication_transferjob_proof", args=[job_id]))


# -- the page ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proof", "is_good", "words"),
    [
        ({}, True, "its own checksum was compared"),
        ({"source_checksum": ""}, True, "The source gave no checksum of its own"),
        ({"destination_crc64": ""}, False, "a CRC-64 value is missing, or the two are not equal"),
        ({"destination_crc64": "1"}, False, "a CRC-64 value is missing, or the two are not equal"),
        (UNCHANGED, True, "a copy of this very object"),
        (SKIPPED, False, "OSS does not allow this key"),
        (NO_COPY | {"outcome": Outcome.DELETED}, True, "the replica was deleted"),
        (NO_COPY | {"outcome": Outcome.ABSENT}, True, "the rule keeps any replica"),
    ],
)
def test_the_page_says_what_the_proof_proves(
    viewer_client: Client, service: Service, proof: dict, is_good: bool, words: str
) -> None:
    page = page_of(viewer_client, make_job(service.rule, "a", JobState.COMPLETED, **proof))
    assert words in page
    assert ("job-verdict-doubtful" in page) is not is_good


def test_the_page_shows_the_compared_checksum(viewer_client: Client, service: Service) -> None:
    job = make_job(service.rule, "a", JobState.COMPLETED, source_checksum="CRC32C yZRlqg==")
    assert "<code>CRC32C yZRlqg==</code>" in page_of(viewer_client, job)


def test_checksums_that_differ_are_not_called_equal(
    viewer_client: Client, service: Service
) -> None:
    job = make_job(service.rule, "a", JobState.COMPLETED, destination_crc64="1")
    page = page_of(viewer_client, job)
    assert ">not equal</span>" in page
    assert ">equal</span>" not in page


def test_each_remark_is_a_line_and_escaped(viewer_client: Client, service: Service) -> None:
    page = page_of(viewer_client, make_job(service.rule, "a", JobState.COMPLETED, **WITH_REMARKS))
    assert "What is missing or different in the replica" in page
    assert page.count("<li>without &#x27;taken&lt;b&gt;by&#x27;") == 1
    assert "<li>rewritten key:" in page


def test_a_job_without_remarks_has_no_heading_for_them(
    viewer_client: Client, service: Service
) -> None:
    page = page_of(viewer_client, make_job(service.rule, "a", JobState.COMPLETED))
    assert "What is missing or different" not in page


def test_the_page_shows_the_replicas_actual_key(viewer_client: Client, service: Service) -> None:
    ReplicationRule.objects.update(key_policy="rewrite")
    job = make_job(service.other_rule, "a\x01b", JobState.COMPLETED)
    assert "archive/.s3sync-key/escaped/a%01b" in page_of(viewer_client, job)


@pytest.mark.parametrize("policy", ["fail", "skip"])
def test_the_page_says_if_oss_does_not_accept_the_key(
    viewer_client: Client, service: Service, policy: str
) -> None:
    ReplicationRule.objects.update(key_policy=policy)
    job = make_job(service.other_rule, "a\x01b", JobState.FAILED)
    assert "(OSS does not accept this key)" in page_of(viewer_client, job)


def test_the_page_says_in_words_why_the_job_was_made(
    viewer_client: Client, service: Service
) -> None:
    job = make_job(service.rule, "a", JobState.COMPLETED)
    EndedJob.objects.update(origin=JobOrigin.DOUBT, write_in_doubt_until=timezone.now())
    page = page_of(viewer_client, job)
    assert '<th scope="row">Why</th><td>an earlier write may have landed late</td>' in page
    assert "Write in doubt until" in page


# -- the file ----------------------------------------------------------------------------------


def test_the_file_has_the_proof_under_stable_names(viewer_client: Client, service: Service) -> None:
    remarks = "without 'été'\nrewritten: 'b'"
    job = make_job(service.other_rule, "invoices/été.pdf", JobState.COMPLETED, remarks=remarks)
    response = download(viewer_client, job.pk)
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Content-Disposition"] == (
        f'attachment; filename="s3sync-proof-{job.pk}.json"'
    )
    assert "Content-Security-Policy" in response.headers
    assert response.json() == {
        "format": "s3sync-proof/1",
        "job": job.pk,
        "rule": "invoices",
        "rule_version": None,
        "outcome": "copied",
        "size_bytes": 48213,
        "crc64_equal": True,
        "source": {
            "name": "photos-hongkong",
            "kind": "s3",
            "bucket": "acme-photos",
            "endpoint_url": "",
            "region": "ap-east-1",
            "credential_profile": "default",
            "key": "invoices/été.pdf",
            "etag": '"9b2cf535f27731c974343645a3985328"',
            "version_id": "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY",
            "checksum": "MD5 9b2cf535f27731c974343645a3985328",
            "crc64": "11051210869376104954",
            "request_id": "79104EXAMPLEB723",
        },
        "destination": {
            "name": "photos-hangzhou",
            "bucket": "acme-photos-cn",
            "endpoint": "https://oss-cn-hangzhou.aliyuncs.com",
            "region": "cn-hangzhou",
            "credential_profile": "default",
            "key": "archive/invoices/été.pdf",
            "etag": '"9B2CF535F27731C974343645A3985328"',
            "crc64": "11051210869376104954",
            "request_id": "5C3D9778CC1C2AEDF85B7F30",
        },
        "remarks": ["without 'été'", "rewritten: 'b'"],
        "origin": "event",
        "unsuccessful_tries": 0,
        "event_at": job.event_at.isoformat(),
        "enqueued_at": job.enqueued_at.isoformat(),
        "started_at": job.event_at.isoformat(),
        "completed_at": job.finalized_at and job.finalized_at.isoformat(),
    }
    assert "été" in response.content.decode()


@pytest.mark.parametrize(
    ("proof", "crc64_equal"),
    [({"destination_crc64": "1"}, False), (UNCHANGED, None), (SKIPPED, None)],
)
def test_the_file_says_whether_the_checksums_are_equal(
    viewer_client: Client, service: Service, proof: dict, crc64_equal: bool | None
) -> None:
    job = make_job(service.rule, "a", JobState.COMPLETED, **proof)
    assert download(viewer_client, job.pk).json()["crc64_equal"] is crc64_equal


def test_the_page_links_to_the_file(viewer_client: Client, service: Service) -> None:
    job = make_job(service.rule, "a", JobState.COMPLETED)
    url = reverse("admin:replication_transferjob_proof", args=[job.pk])
    assert f'href="{url}"' in page_of(viewer_client, job)


@pytest.mark.parametrize("state", [state for state in JobState if state != JobState.COMPLETED])
def test_there_is_no_proof_of_an_unfinished_job_and_the_answer_says_why(
    viewer_client: Client, service: Service, state: JobState
) -> None:
    job = make_job(service.rule, "a", state)
    response = download(viewer_client, job.pk)
    assert response.status_code == 404
    assert response.content.decode() == (
        f"Job {job.pk} is {state.label}: only a completed job has a proof.\n"
    )
    assert "proof.json" not in page_of(viewer_client, job)


def test_there_is_no_proof_of_a_deleted_job_and_the_answer_says_why(viewer_client: Client) -> None:
    response = download(viewer_client, 4711)
    assert response.status_code == 404
    assert "There is no job 4711. Finished jobs are deleted" in response.content.decode()


def test_a_user_who_may_not_view_jobs_gets_no_proof(service: Service) -> None:
    job = make_job(service.rule, "a", JobState.COMPLETED)
    client = Client()
    assert download(client, job.pk).status_code == 302
    client.force_login(User.objects.create_user("guest", "", "guest", is_staff=True))
    assert download(client, job.pk).status_code == 403


def test_every_field_of_the_file_is_documented() -> None:
    sections = re.split(r"^\| field (?:of `(\w+)` )?\|", DOCUMENT, flags=re.MULTILINE)[1:]
    documented = {
        name or "": set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
        for name, text in zip(sections[::2], sections[1::2], strict=True)
    }
    assert documented == {
        "": {field.name for field in fields(Proof)},
        "source": {field.name for field in fields(SourceProof)},
        "destination": {field.name for field in fields(DestinationProof)},
    }
    assert f"`{FORMAT}`" in DOCUMENT


# -- the progress of a large object ------------------------------------------------------------


@pytest.mark.parametrize(
    ("uploaded", "bytes_uploaded", "percent"),
    [(set(), 0, 0), ({1, 3}, 15 * MIB, 60), ({2}, 10 * MIB, 40), ({1, 2, 3}, 25 * MIB, 100)],
)
def test_the_bytes_of_uploaded_parts_are_counted(
    service: Service, uploaded: set[int], bytes_uploaded: int, percent: int
) -> None:
    job = make_job(service.rule, "a", JobState.RUNNING)
    make_upload(service.rule, "a", size_bytes=25 * MIB, part_size_bytes=10 * MIB, uploaded=uploaded)
    upload = upload_progress(job)
    assert upload
    assert (upload.parts_uploaded, upload.parts_total) == (len(uploaded), 3)
    assert (upload.bytes_uploaded, upload.percent) == (bytes_uploaded, percent)
    assert upload.parts_carried == (1 if len(uploaded) < 3 else 0)


def test_the_page_shows_the_progress_of_a_large_object(
    viewer_client: Client, service: Service
) -> None:
    job = make_job(service.rule, "a", JobState.RUNNING)
    make_upload(service.rule, "a", size_bytes=25 * MIB, part_size_bytes=10 * MIB, uploaded={1})
    page = page_of(viewer_client, job)
    assert f'<progress value="{10 * MIB}" max="{25 * MIB}">40%</progress>' in page
    assert "1 of 3, 10.0\xa0MB each; 1 being carried" in page


def test_finished_jobs_and_other_keys_have_no_upload(service: Service) -> None:
    make_upload(service.rule, "a", size_bytes=25 * MIB, part_size_bytes=10 * MIB, uploaded=set())
    assert upload_progress(make_job(service.rule, "a", JobState.COMPLETED)) is None
    assert upload_progress(make_job(service.rule, "b", JobState.RUNNING)) is None
    assert upload_progress(make_job(service.other_rule, "a", JobState.RUNNING)) is None
    assert upload_progress(make_job(service.rule, "a", JobState.PENDING)) is not None


def test_the_database_counts_the_parts(service: Service) -> None:
    job = make_job(service.rule, "a", JobState.RUNNING)
    make_upload(service.rule, "a", size_bytes=3000 * MIB, part_size_bytes=MIB, uploaded=set())
    with CaptureQueriesContext(connection) as queries:
        assert upload_progress(job)
    assert len(queries) == 2
