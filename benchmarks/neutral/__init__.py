r"""A stand-in for S3, OSS and SQS in one server, fast enough that it is never what is measured.

    python -m benchmarks.neutral --port 0 [--delay-ms 50]     prints `neutral listening on http://…`

It checks no signatures and refuses little: `sandbox/oss` is the strict stand-in. A bucket or queue
exists as soon as a request names it. The bucket is in the path, or is the first label of the host
name unless that begins with `oss-` or `s3`; a queue's URL is `http://…/queue/NAME`.

The source's content is a repeating pattern, generated as it is sent, so gigabytes and millions of
keys cost nothing. Written bytes are counted and checksummed; bodies up to 64 KiB are kept and can
be read back. The ETag of a PUT is its MD5; as in S3, an object in parts has another kind of ETag.

    keys='"bucket":"src","prefix":"k/","count":8000,"size":4096'
    curl -d "{$keys}" $neutral/-/fill
    curl -d "{$keys,\"queue\":\"events\"}" $neutral/-/announce
    curl "$neutral/-/digest?bucket=src"; curl $neutral/-/counts

`/-/…` is the control API (JSON; see control.py): fill a bucket, announce its keys in a queue at
once or at a rate, compute a bucket's digest, count requests, set the delay.

**How the delay simulates a distance.** The answer to a request is sent one round trip after the
request's last byte arrived; the first answer of a connection is sent one more round trip later,
for TCP's handshake. So, as on a long line, connections wait in parallel and never for each other.
TLS's own round trips, slow start and the line's bandwidth are not simulated, for any client.
"""
