import json
import os
import shlex
import signal
import subprocess
import sys

import boto3
import oss2
import psycopg
import pytest

from sandbox.bootstrap import REPOSITORY
from tests.sandbox.launcher import wait_until


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """The process of `python -m sandbox`, its --env-file, and the variables in that file."""
    env_file = tmp_path_factory.mktemp("sandbox") / "sandbox.env"
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--env-file", env_file],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            wait_until(lambda: env_file.exists() or process.poll() is not None)
            yield process, env_file, exported(env_file.read_text())
        finally:
            process.terminate()


def exported(text):
    words = (shlex.split(line) for line in text.splitlines())
    return dict(assignment.split("=", 1) for export, assignment in words if export == "export")


def test_the_exported_variables_point_to_each_stand_in(running, monkeypatch):
    _, _, variables = running
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with psycopg.connect(variables["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)

    boto3.client("s3").put_object(
        Bucket=variables["S3SYNC_SANDBOX_SOURCE_BUCKET"], Key="hello", Body=b"world"
    )
    assert "hello" in keys_in_events(variables["S3SYNC_SANDBOX_QUEUE_URL"])

    replica = oss2.Bucket(
        oss2.AuthV4(variables["OSS_ACCESS_KEY_ID"], variables["OSS_ACCESS_KEY_SECRET"]),
        variables["OSS_ENDPOINT"],
        variables["S3SYNC_SANDBOX_DESTINATION_BUCKET"],
        region=variables["OSS_REGION"],
        is_path_style=True,
    )
    replica.put_object("hello", b"world")
    assert replica.get_object("hello").read() == b"world"


def keys_in_events(queue_url):
    sqs = boto3.client("sqs")
    keys: list[str] = []
    while not keys:
        answer = sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=10)
        for message in answer["Messages"]:
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            records = json.loads(message["Body"]).get("Records", [])
            keys += [record["s3"]["object"]["key"] for record in records]
    return keys


def test_only_its_owner_can_read_the_env_file(running):
    _, env_file, _ = running
    assert env_file.stat().st_mode & 0o777 == 0o600


def test_sigterm_stops_the_stand_ins_and_removes_the_env_file(running):
    process, env_file, variables = running
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == 0
    assert not env_file.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(variables["DATABASE_URL"])
