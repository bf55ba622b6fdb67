"""All stand-ins, connected: an S3 bucket that notifies an SQS queue, and an OSS bucket."""

import json
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from sandbox.ministack import MiniStack
from sandbox.oss_process import OssProcess
from sandbox.postgres import Postgres


@dataclass
class Sandbox:
    """PostgreSQL, AWS and OSS on loopback ports, until the context ends.

        with Sandbox() as sandbox:
            subprocess.run(["./manage.py", "migrate"], env={**os.environ, **sandbox.environment()})

    `fsync` is passed to the database: see `Postgres`.
    """

    source_bucket: str = "s3sync-source"
    destination_bucket: str = "s3sync-replica"
    queue_name: str = "s3sync-events"
    fsync: bool = True
    postgres: Postgres = field(init=False)
    aws: MiniStack = field(init=False)
    oss: OssProcess = field(init=False)
    queue_url: str = field(init=False)

    def __enter__(self) -> Self:
        with ExitStack() as started:
            self.postgres = started.enter_context(Postgres(fsync=self.fsync))
            self.aws = started.enter_context(MiniStack())
            self.oss = started.enter_context(OssProcess(bucket=self.destination_bucket))
            self.queue_url = connect_bucket_to_queue(
                self.aws, bucket=self.source_bucket, queue=self.queue_name
            )
            self._servers = started.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._servers.close()

    def environment(self) -> dict[str, str]:
        """The variables that point the service at the stand-ins."""
        return {
            "DATABASE_URL": self.postgres.url,
            "AWS_ENDPOINT_URL": self.aws.endpoint_url,
            "AWS_DEFAULT_REGION": self.aws.region,
            "AWS_ACCESS_KEY_ID": self.aws.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.aws.secret_access_key,
            "OSS_ENDPOINT": self.oss.endpoint_url,
            "OSS_REGION": self.oss.region,
            "OSS_ACCESS_KEY_ID": self.oss.access_key_id,
            "OSS_ACCESS_KEY_SECRET": self.oss.access_key_secret,
            "S3SYNC_PRIVATE_NETWORKS": "127.0.0.0/8",
            "S3SYNC_TRUSTED_ENDPOINTS": "http://127.0.0.1:*",
            "S3SYNC_SANDBOX_SOURCE_BUCKET": self.source_bucket,
            "S3SYNC_SANDBOX_DESTINATION_BUCKET": self.destination_bucket,
            "S3SYNC_SANDBOX_QUEUE_URL": self.queue_url,
        }


def connect_bucket_to_queue(aws: MiniStack, *, bucket: str, queue: str) -> str:
    """Create a bucket that notifies a new queue of created, removed and restored objects.

    Returns the queue's URL. The first message in the queue is S3's `s3:TestEvent`.
    """
    s3, sqs = aws.client("s3"), aws.client("sqs")
    s3.create_bucket(Bucket=bucket)
    queue_url = sqs.create_queue(QueueName=queue)["QueueUrl"]
    queue_arn = f"arn:aws:sqs:{aws.region}:{aws.account_id}:{queue}"
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue_arn,
                "Condition": {"ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{bucket}"}},
            }
        ],
    }
    sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"Policy": json.dumps(policy)})
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": queue_arn,
                    # ObjectRemoved does not cover objects that a lifecycle rule deletes.
                    "Events": [
                        "s3:ObjectCreated:*",
                        "s3:ObjectRemoved:*",
                        "s3:LifecycleExpiration:*",
                        "s3:ObjectRestore:Completed",
                        "s3:ObjectTagging:*",
                    ],
                }
            ]
        },
    )
    return queue_url
