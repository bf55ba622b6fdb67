"""MiniStack stands in for S3, SQS, SNS, EventBridge and IAM, in memory, until its context ends.

What to know of it (1.5.33), beyond what AWS's documentation says:

- It runs with AUTH=true: IAM, bucket, queue and topic policies decide, anonymous requests need a
  bucket policy, and S3 refuses to notify a queue whose policy does not let it. EventBridge and SNS
  deliver whatever the queue's policy says.
- The access key id below is the account's root, as is any id of 12 digits, for the account of that
  number: their signatures are not verified. Users made with IAM are held to their secret and to
  their policies.
- A client's region counts: a queue is found only by clients of the region it was made in.
- Path style works on any host name, virtual-host style on `<bucket>.localhost` (not on an IP
  address), which boto3 knows: it uses path style with an address for its endpoint.
- A missing key answers 404 even to those who may not list the bucket; S3 answers 403.
- An event reaches its queue within 10 ms of the request. Tagging sends none, nor does the delete
  marker of a key that never was.
- A GET of a version ignores `Range` and sends it whole, where S3 sends the range.
- User metadata beyond ASCII comes back as the bytes that were sent; S3 makes them encoded words of
  RFC 2047.
- A multipart object's checksum is always COMPOSITE, also where FULL_OBJECT was asked for.
- HEAD tells no `x-amz-tagging-count`.
- It takes notifications that overlap, for which S3 refuses the whole configuration, and gives a
  filter's names back as they were given; S3 gives `Prefix` and `Suffix`.
- A queue or policy is known at once; AWS takes up to a minute.
"""

from collections.abc import Mapping

from sandbox.aws import AwsServer


class MiniStack(AwsServer):
    """S3, SQS, SNS, EventBridge, IAM, STS and CloudFormation.

        with MiniStack() as aws:
            aws.client("s3").create_bucket(Bucket="photos")

    It is apart from the service's own packages as it pins a botocore of its own.
    """

    package = "ministack"
    ready_path = "/_ministack/ready"

    def _arguments(self, port: int) -> list[str]:
        return ["-m", "ministack"]

    def _environment(self, port: int) -> Mapping[str, str]:
        return {
            "BIND_HOST": "127.0.0.1",  # all interfaces otherwise
            "GATEWAY_PORT": str(port),
            "AUTH": "true",
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "MINISTACK_ACCOUNT_ID": self.account_id,
            "MINISTACK_REGION": self.region,
            "SERVICES": "s3,sqs,sns,events,iam,sts,cloudformation",
            "IOT_MTLS_ENABLED": "0",  # it would listen on a fixed port
            "LOG_LEVEL": "WARNING",
            # It writes its pid, and makes a folder for each bucket, even with all in memory.
            "TMPDIR": str(self.directory),
            "HOME": str(self.directory),
            "S3_DATA_DIR": str(self.directory / "s3"),
        }
