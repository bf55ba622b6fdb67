"""What the requests are made of whose signatures are compared with those of the SDKs.

`make signers` compares 20,000 requests for each service, the ordinary suite a hundred.
"""

from datetime import UTC, datetime

from hypothesis import strategies as st

from replication.stores.signing_keys import Credentials

_AWKWARD = st.sampled_from(
    ["//", "/../", "/./", "+", " ", "%", "%2F", "%zz", "~", "?a=b", "#", "é"]
)
# Any text but lone surrogates, which UTF-8 does not have.
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)

KEYS = st.lists(_AWKWARD | _TEXT, min_size=1, max_size=5).map("".join).filter(bool)
# Names and values as they are before they are quoted.
PARAMETERS = st.dictionaries(_NAMES | _AWKWARD, _TEXT | _AWKWARD, max_size=4)
# Printable ASCII without spaces around it, which HTTP removes.
HEADER_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)).map(str.strip)
HOSTS = st.sampled_from(
    [
        "bucket.s3.eu-central-1.amazonaws.com",
        "bucket.s3.dualstack.us-west-2.amazonaws.com",
        "bucket.oss-cn-hangzhou-internal.aliyuncs.com",
        "files.example.com",
        "minio.example.com:9000",
        "127.0.0.1:80",
        "[::1]:9000",
    ]
)
REGIONS = st.sampled_from(["us-east-1", "cn-hangzhou", "eu-central-1"]) | st.from_regex(
    r"[a-z]{2}-[a-z0-9-]{1,20}", fullmatch=True
)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
_VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
CREDENTIALS = st.builds(
    Credentials,
    st.text(_VISIBLE, min_size=1, max_size=40),
    st.text(_VISIBLE, min_size=1, max_size=60),
    st.just("") | st.text(_VISIBLE, min_size=1, max_size=200),
)
