"""moto stands in for S3 a second time, so that no test of the S3 store rests on one alone.

What to know of it (5.2.5), beyond what AWS's documentation says:

- It checks neither signatures nor rights, sends no event, and closes each connection.
- Its request ids come as `x-amzn-requestid` alone.
- An SSE-C object can be read without its key; S3 answers InvalidRequest.
- A restore is done at once, and may be asked for again; for an object that is not archived it
  answers InvalidObjectState, where S3 answers ObjectAlreadyInActiveTierError.
- User metadata beyond ASCII comes back as the bytes that were sent; S3 makes them encoded words of
  RFC 2047.
- A COMPOSITE checksum goes without the number of parts that S3 puts behind it.
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
            # It signs nothing with them, but its botocore wants some.
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_EC2_METADATA_DISABLED": "true",
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory),
        }
