"""HTTP on the wire: lengths, broken bodies, odd bytes, keep-alive."""

import socket
import threading

import pytest

from sandbox.oss import OssServer
from tests.sandbox.oss import OPEN_BUCKET, SPILL_BYTES
from tests.sandbox.oss.raw import RawClient

SIX_GIGABYTES = 6 << 30


def stored(server: OssServer) -> list[str]:
    return server.store.bucket(OPEN_BUCKET).sorted_keys()


def test_a_body_without_a_length_is_411(raw: RawClient) -> None:
    refused = raw.request("PUT", "key")
    assert (refused.status, refused.code) == (411, "MissingContentLength")


def test_a_length_shorter_than_the_body_stores_a_truncated_object(raw: RawClient) -> None:
    answer = raw.request("PUT", "key", {"Content-Length": "5"}, b"hello world\r\n\r\n")
    assert answer.status == 200
    assert raw.receive().status == 400, "the rest of the body is not a request"
    assert raw.is_closed_by_peer()


def test_a_truncated_object_is_really_stored(server: OssServer, raw: RawClient) -> None:
    raw.request("PUT", "key", {"Content-Length": "5"}, b"hello world")
    with RawClient(server.port) as other:
        assert other.request("GET", "key").body == b"hello"


@pytest.mark.parametrize("sent_bytes", [3, SPILL_BYTES + 100_000])
def test_a_body_that_breaks_off_stores_nothing(
    server: OssServer, raw: RawClient, sent_bytes: int
) -> None:
    files_before = set(server.folder.iterdir())
    raw.send("PUT", "key", {"Content-Length": str(sent_bytes + 1)}, b"x" * sent_bytes)
    raw.sock.shutdown(socket.SHUT_WR)
    assert raw.is_closed_by_peer()
    assert stored(server) == []
    assert set(server.folder.iterdir()) <= files_before
    logged = server.requests()[-1]
    assert (logged.status, logged.code, logged.bytes_in) == (0, "ClientGone", sent_bytes)


def test_a_body_above_five_gigabytes_is_refused_before_it_is_sent(
    server: OssServer, raw: RawClient
) -> None:
    refused = raw.request("PUT", "key", {"Content-Length": str(SIX_GIGABYTES)})
    assert (refused.status, refused.code) == (400, "EntityTooLarge")
    assert refused.headers["connection"] == "close"
    assert stored(server) == []


def test_chunks_are_joined(raw: RawClient) -> None:
    body = b"5\r\nhello\r\n6;name=value\r\n world\r\n0\r\nTrailer: x\r\n\r\n"
    assert raw.request("PUT", "key", {"Transfer-Encoding": "chunked"}, body).status == 200
    assert raw.request("GET", "key").body == b"hello world"


def test_chunks_that_break_off_store_nothing(server: OssServer, raw: RawClient) -> None:
    raw.send("PUT", "key", {"Transfer-Encoding": "chunked"}, b"5\r\nhello\r\n")
    raw.sock.shutdown(socket.SHUT_WR)
    assert raw.is_closed_by_peer()
    assert stored(server) == []


@pytest.mark.parametrize("body", [b"zz\r\n", b"3\r\nhello\r\n"])
def test_malformed_chunks_are_400(server: OssServer, raw: RawClient, body: bytes) -> None:
    assert raw.request("PUT", "key", {"Transfer-Encoding": "chunked"}, body).status == 400
    assert stored(server) == []


def test_a_client_that_expects_100_continue_gets_it(raw: RawClient) -> None:
    raw.send("PUT", "key", {"Content-Length": "5", "Expect": "100-continue"})
    assert raw.receive().status == 100
    raw.sock.sendall(b"hello")
    assert raw.receive().status == 200
    assert raw.request("GET", "key").body == b"hello"


def test_a_client_that_expects_100_continue_can_be_refused_before_its_body(raw: RawClient) -> None:
    headers: dict[str, str | bytes] = {"Content-Length": "5", "Expect": "100-continue"}
    assert raw.request("PUT", "/slash", headers).code == "InvalidObjectName"


def test_a_refused_body_leaves_the_connection_usable(raw: RawClient) -> None:
    for _ in range(3):
        assert raw.put("/slash", b"GET / HTTP/1.1\r\n\r\n").code == "InvalidObjectName"
    assert raw.put("key", b"x").status == 200


@pytest.mark.parametrize("target", [b"%FF%FE", b"a\xffb", b"%2Fa", b"%5Ca"])
def test_a_name_that_is_not_utf_8_or_begins_wrongly_is_refused(
    raw: RawClient, target: bytes
) -> None:
    refused = raw.request("PUT", target, {"Content-Length": "0"})
    assert (refused.status, refused.code) == (400, "InvalidObjectName")


def test_a_name_sent_as_raw_utf_8_is_the_same_as_encoded(raw: RawClient) -> None:
    raw.put("ö+".encode(), b"x")
    assert raw.request("GET", "%C3%B6%2B").body == b"x"


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: x\r\n\r\n",
        b"PUT /open-bucket/k HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
        b"PUT /open-bucket/k HTTP/1.1\r\nContent-Length: 1, 2\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_bytes_that_are_not_a_request_get_400_and_end_the_connection(
    raw: RawClient, garbage: bytes
) -> None:
    raw.sock.sendall(garbage)
    assert raw.receive().status == 400
    assert raw.is_closed_by_peer()


def test_a_head_answer_has_the_error_in_a_header(raw: RawClient) -> None:
    answer = raw.request("HEAD", "absent")
    assert (answer.status, answer.headers["x-oss-ec"]) == (404, "0026-00000001")
    assert answer.headers["x-oss-err"]
    assert raw.put("key", b"x").status == 200, "no body was left on the connection"


def test_pipelined_requests_are_answered_in_order(raw: RawClient) -> None:
    for number in range(5):
        raw.send("PUT", f"key{number}", {"Content-Length": "1"}, b"x")
    assert [raw.receive().status for _ in range(5)] == [200] * 5


def test_the_client_may_close_after_an_answer(raw: RawClient) -> None:
    headers: dict[str, str | bytes] = {"Content-Length": "1", "Connection": "close"}
    assert raw.request("PUT", "key", headers, b"x").headers["connection"] == "close"
    assert raw.is_closed_by_peer()


def test_a_repeated_header_has_both_values(raw: RawClient) -> None:
    raw.sock.sendall(
        b"PUT /open-bucket/key HTTP/1.1\r\nContent-Length: 0\r\n"
        b"x-oss-meta-a: 1\r\nX-Oss-Meta-A: 2\r\n\r\n"
    )
    assert raw.receive().status == 200
    assert raw.request("HEAD", "key").headers["x-oss-meta-a"] == "1,2"


def test_sixty_four_connections_at_once_are_served(server: OssServer) -> None:
    all_are_connected = threading.Barrier(64, timeout=60)
    statuses: list[int] = []

    def work(number: int) -> None:
        with RawClient(server.port) as client:
            all_are_connected.wait()
            statuses.extend(client.put(f"{number}/{n}", b"x" * 1000).status for n in range(5))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * (64 * 5)
    assert len(stored(server)) == 64 * 5


@pytest.mark.parametrize(
    "host", [f"{OPEN_BUCKET}.localhost", f"{OPEN_BUCKET}.oss-cn-hangzhou.aliyuncs.com:80"]
)
def test_the_bucket_may_be_in_the_host(server: OssServer, host: str) -> None:
    with RawClient(server.port) as client:
        for method, target in (("PUT", "a/b"), ("GET", "a/b"), ("PUT", "-/health")):
            client.sock.sendall(
                f"{method} /{target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode()
            )
            assert client.receive().status == 200
    assert stored(server) == ["-/health", "a/b"]


def test_the_target_may_be_a_whole_url(raw: RawClient) -> None:
    url = f"http://{OPEN_BUCKET}.oss-cn-hangzhou.aliyuncs.com/a/b?x=1"
    for method in ("PUT", "GET"):
        head = f"{method} {url} HTTP/1.1\r\nHost: other\r\nContent-Length: 0\r\n\r\n"
        raw.sock.sendall(head.encode())
        assert raw.receive().status == 200


@pytest.mark.parametrize(
    ("host", "target", "status", "code"),
    [
        ("absent-bucket.localhost", "/key", 404, "NoSuchBucket"),
        ("127.0.0.1", "/absent-bucket/key", 404, "NoSuchBucket"),
        ("stand-in.example.com", "/absent-bucket/key", 404, "NoSuchBucket"),
        ("[::1]:80", "/absent-bucket/key", 404, "NoSuchBucket"),
        ("127.0.0.1", "/Bad_Bucket/key", 400, "InvalidBucketName"),
        ("localhost", "/ab/key", 400, "InvalidBucketName"),
    ],
)
def test_a_missing_or_invalid_bucket_is_refused(
    raw: RawClient, host: str, target: str, status: int, code: str
) -> None:
    raw.sock.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = raw.receive()
    assert (answer.status, answer.code) == (status, code)
