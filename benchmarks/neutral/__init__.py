r"""A server that is never what is measured: S3 source, S3 and OSS destination, and SQS, in one.

    python -m benchmarks.neutral --port 0 [--delay-ms 50]     prints `neutral listening on http://…`

It checks no signature and refuses little: `sandbox/oss` is the strict stand-in. Buckets and queues
exist once they are named. A bucket is named in the path, or by the first label of the host name,
unless that begins with `oss-` or `s3`; a queue's URL is `http://…/queue/NAME`.

What the source holds is a repeating pattern, made as it is sent: gigabytes and millions of keys
cost nothing. What is written is counted and checksummed; bodies up to 64 KiB are kept and can be
read back. An ETag is the MD5 for a PUT; for what has parts it is none, as with S3.

    keys='"bucket":"src","prefix":"k/","count":8000,"size":4096'
    curl -d "{$keys}" $neutral/-/fill
    curl -d "{$keys,\"queue\":\"events\"}" $neutral/-/announce
    curl "$neutral/-/digest?bucket=src"; curl $neutral/-/counts

`/-/…` is its control (JSON; see control.py): fill a bucket, announce its keys in a queue at once or
so many a second, sum a bucket up, count requests, set the delay.

**How the delay stands for a distance.** The answer to a request leaves one round trip after the
request's last byte arrived; the first answer of each connection one more, for TCP's handshake.
So connections wait side by side and never for each other, as over a long line. Left out are TLS's
own round trips, slow start, and the bandwidth of the line: all clients are spared them alike.
"""
