"""From empty accounts to a replica: apply a rules file, provision, run a cluster, run doctor, and
put an object."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import oss2
import pytest
from django.core.management import call_command

from replication.models import EventQueue
from sandbox.ministack import MiniStack
from sandbox.oss import Denial, OssServer
from tests.support import processes
from tests.support.environment import OSS_KEY_ID, OSS_KEY_SECRET
from tests.support.policies import a_user_who_may
from tests.support.processes import REPOSITORY, eventually, manage
from tests.support.road import OSS_REGION

pytestmark = pytest.mark.django_db(transaction=True)

# Only the stand-in needs them: in AWS, the actions without Batch cover the batches.
BATCHES = ["sqs:DeleteMessageBatch", "sqs:ChangeMessageVisibilityBatch"]

OSS_ACTIONS = {
    *("oss:PutObject", "oss:GetObject", "oss:DeleteObject", "oss:AbortMultipartUpload"),
    *("oss:PutObjectAcl", "oss:GetObjectAcl"),
    *("oss:PutObjectTagging", "oss:GetObjectTagging", "oss:DeleteObjectTagging"),
    *("oss:ListObjects", "oss:ListParts", "oss:ListMultipartUploads", "oss:GetBucketInfo"),
}


def run(aws: MiniStack, *arguments: str) -> str:
    """Run a command as an operator does; returns its output."""
    done = subprocess.run(
        [sys.executable, REPOSITORY / "manage.py", *arguments],
        env={
            **os.environ,
            "DATABASE_URL": processes.test_database_url(),
            "AWS_ENDPOINT_URL": aws.endpoint_url,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_with_only_the_rights_that_provision_writes_an_object_is_copied_and_deleted(
    aws: MiniStack, oss: OssServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"live-{uuid4().hex[:8]}"
    service = a_user_who_may(aws, ["sts:GetCallerIdentity"], monkeypatch)
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=name)
    rules = {
        "sources": [
            {
                "name": "photos-s3",
                "bucket": name,
                "region": aws.region,
                "endpoint_url": aws.endpoint_url,
                "credential_profile": service,
            }
        ],
        "destinations": [
            {
                "name": "photos-oss",
                "bucket": "replica",
                "endpoint": oss.endpoint,
                "region": OSS_REGION,
                "addressing": "path",
            }
        ],
        "rules": [
            {
                "name": "photos",
                "source": "photos-s3",
                "destination": "photos-oss",
                "source_prefix": "photos/",
                "delete_policy": "mirror",
            }
        ],
    }
    (tmp_path / "rules.yaml").write_text(json.dumps(rules))  # JSON is YAML too
    call_command("applyrules", str(tmp_path / "rules.yaml"))

    made = ["--queue", name, "--profile", "default", "--apply", "--write", str(tmp_path)]
    assert "Done: 4 changes." in run(aws, "provision", *made)
    assert EventQueue.objects.get().credential_profile == service

    iam = json.loads((tmp_path / f"iam-{service}.json").read_text())
    next(each for each in iam["Statement"] if each["Sid"] == "S3SyncReceive")["Action"] += BATCHES
    aws.client("iam").put_user_policy(
        UserName=service, PolicyName="p", PolicyDocument=json.dumps(iam)
    )
    ram = json.loads((tmp_path / "ram-default.json").read_text())
    granted = {action for statement in ram["Statement"] for action in statement["Action"]}
    oss.deny(Denial(actions=tuple(OSS_ACTIONS - granted)))

    auth = oss2.AuthV4(OSS_KEY_ID, OSS_KEY_SECRET)
    replicas = oss2.Bucket(auth, oss.endpoint, "replica", region=OSS_REGION, is_path_style=True)
    with manage("qcluster", directory=tmp_path) as cluster:
        eventually(
            EventQueue.objects.filter(last_polled_at__isnull=False).exists, unless_ended=cluster
        )
        said = json.loads(run(aws, "doctor", "--profile", "default", "--json"))
        assert [each for each in said["findings"] if each["level"] != "pass"] == []
        s3.put_object(Bucket=name, Key="photos/a.jpg", Body=b"jpeg", Tagging="year=2026")
        eventually(lambda: replicas.object_exists("photos/a.jpg"), unless_ended=cluster)
        assert replicas.get_object("photos/a.jpg").read() == b"jpeg"
        s3.delete_object(Bucket=name, Key="photos/a.jpg")
        eventually(lambda: not replicas.object_exists("photos/a.jpg"), unless_ended=cluster)
