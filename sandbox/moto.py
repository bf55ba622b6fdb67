"""moto is a second stand-in for S3, so that no test of the S3 store relies on one alone.

How moto 5.2.5 behaves where AWS's documentation doesn't say, or says otherwise:

- It checks neither signatures nor rights, sends no events, and closes each connection after an
  answer.
- It returns request ids in `x-amzn-requestid` alone.
- An SSE-C object can be read without its key; S3 answers InvalidRequest.
- A restore completes at once, and can be requested again. For an object that is not archived it
  answers InvalidObjectState; S3 answers ObjectAlreadyInActiveTierError.
- User metadata beyond ASCII comes back as the bytes that were sent; S3 encodes them as RFC 2047
  encoded words.
- A COMPOSITE checksum lacks the number of parts that S3 appends.
"""

from collections.abc import Mapping

from sandbox.aws import AwsServer


class Moto(AwsServer):
    """S3 alone.

    with Moto() as aws:
        aws.client("s3").create_bucket(Bucket="photos")
    """

    package = "moto"
    ready_path = "/moto-api/"

    def _arguments(self, port: int) -> list[str]:
        return ["-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]

    def _environment(self, port: int) -> Mapping[str, str]:
        return {
            # moto signs nothing with these, but its botocore requires credentials.
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_EC2_METADATA_DISABLED": "true",
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory),
        }
