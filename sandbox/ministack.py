"""MiniStack stands in for S3, SQS, SNS, EventBridge and IAM, in memory, until its context ends.

How MiniStack 1.5.33 behaves where AWS's documentation doesn't say, or says otherwise:

- It runs with AUTH=true: IAM, bucket, queue and topic policies are enforced, anonymous requests
  need a bucket policy, and S3 refuses to notify a queue whose policy does not allow it. EventBridge
  and SNS deliver messages whatever the queue's policy says.
- The access key id below is the account's root, and so is any id of 12 digits, for the account of
  that number: their signatures are not verified. For users made with IAM, the secret and the
  policies are checked.
- The client's region matters: only clients of the region in which a queue was made find the queue.
- Path style works on any host name. Virtual-host style works on `<bucket>.localhost`, not on an IP
  address; boto3 uses path style if its endpoint is an IP address.
- A missing key answers 404 even to a client that may not list the bucket; S3 answers 403.
- An event reaches its queue within 10 ms of the request. Tagging sends no event, nor does a delete
  marker of a key that never existed.
- A GET of a version ignores `Range` and returns the whole version; S3 returns the range.
- User metadata beyond ASCII comes back as the bytes that were sent; S3 encodes them as RFC 2047
  encoded words.
- A multipart object's checksum is always COMPOSITE, even if FULL_OBJECT was requested.
- HEAD returns no `x-amz-tagging-count`.
- It accepts overlapping notifications, for which S3 refuses the whole configuration. It returns a
  filter's names as they were given; S3 returns `Prefix` and `Suffix`.
- A new queue or policy takes effect at once; AWS takes up to a minute.
"""

from collections.abc import Mapping

from sandbox.aws import AwsServer


class MiniStack(AwsServer):
    """S3, SQS, SNS, EventBridge, IAM, STS and CloudFormation.

        with MiniStack() as aws:
            aws.client("s3").create_bucket(Bucket="photos")

    It has an environment of its own because it pins its own version of botocore.
    """

    package = "ministack"
    ready_path = "/_ministack/ready"

    def _arguments(self, port: int) -> list[str]:
        return ["-m", "ministack"]

    def _environment(self, port: int) -> Mapping[str, str]:
        return {
            "BIND_HOST": "127.0.0.1",  # the default is all interfaces
            "GATEWAY_PORT": str(port),
            "AUTH": "true",
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "MINISTACK_ACCOUNT_ID": self.account_id,
            "MINISTACK_REGION": self.region,
            "SERVICES": "s3,sqs,sns,events,iam,sts,cloudformation",
            "IOT_MTLS_ENABLED": "0",  # this service listens on a fixed port
            "LOG_LEVEL": "WARNING",
            # MiniStack writes its pid and makes a folder for each bucket, although it keeps all
            # data in memory.
            "TMPDIR": str(self.directory),
            "HOME": str(self.directory),
            "S3_DATA_DIR": str(self.directory / "s3"),
        }
