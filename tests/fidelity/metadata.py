"""Samples of user metadata and of the headers that describe the content."""

from collections.abc import Mapping

from tests.fidelity.samples import Arrives, LeftOut, Refused, Sample, Sent, Variant, sample

_REFUSED = Refused("metadata_incompatible")
_NO_TYPE = "no type"


def wire(text: str) -> str:
    """The text's UTF-8 as HTTP clients return it: one character for each byte."""
    return text.encode().decode("latin-1")


# Carried unchanged under each policy.
_PLAIN: Mapping[str, Mapping[str, str]] = {
    "one field": {"owner": "me"},
    "an empty value": {"empty": ""},
    "spaces inside": {"text": "a  b   c"},
    "percent": {"text": "100% %41 %"},
    "plus": {"text": "a+b + c"},
    "quotes": {"text": "\"a\" 'b' \\c"},
    "JSON": {"json": '{"a": [1, "b"], "c": null}'},
    "a URL": {"from": "https://example.com/a?b=c&d=e#f"},
    "separators": {"text": "a,b;c=d:e|f"},
    "all of visible ASCII": {"text": "".join(map(chr, range(0x21, 0x7F)))},
    "a date": {"taken": "2026-11-24T16:00:00+00:00"},
    "an encoded word": {"title": "=?UTF-8?B?5pel5pys?="},
    "a name with hyphens": {"taken-by-whom": "me"},
    "hyphens at both ends of a name": {"-odd-": "a"},
    "a name of digits": {"2026": "a"},
    "a name like a header's": {"content-type": "a", "etag": "b", "range": "bytes=0-1"},
    "a name almost reserved": {"s3sync": "a", "xs3sync-etag": "b"},
    "fifty fields": {f"f{number}": str(number) for number in range(50)},
    "2 KB in one value": {"v": "x" * 2047},
    "2 KB in many fields": {f"f{number:03}": "x" * 28 for number in range(64)},
    "a long name": {"n" * 200: "v"},
}

# Names or values that OSS does not accept: the metadata as sent, and rewritten under REWRITE.
_ODD: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "an underscore in a name": ({"taken_by": "me"}, {"s3sync-meta-taken-5fby": "me"}),
    "a dot in a name": ({"a.b": "c"}, {"s3sync-meta-a-2eb": "c"}),
    "symbols in a name": (
        {"a!#$&'*+^`|~b": "c"},
        {"s3sync-meta-a-21-23-24-26-27-2a-2b-5e-60-7c-7eb": "c"},
    ),
    "an underscore and a percent": ({"a_b": "50% off"}, {"s3sync-meta-a-5fb": "50%25%20off"}),
    "Chinese, as bytes": ({"title": wire("日本")}, {"s3sync-meta-title": "%E6%97%A5%E6%9C%AC"}),
    "Latin-1, as bytes": ({"title": "caf\xe9"}, {"s3sync-meta-title": "caf%E9"}),
    "emoji, as bytes": ({"title": wire("😀")}, {"s3sync-meta-title": "%F0%9F%98%80"}),
    "a tab in a value": ({"text": "a\tb"}, {"s3sync-meta-text": "a%09b"}),
    "delete in a value": ({"text": "a\x7fb"}, {"s3sync-meta-text": "a%7Fb"}),
    "s3sync's field for the ETag": ({"s3sync-etag": "e"}, {"s3sync-meta-s3sync-2detag": "e"}),
    "s3sync's field for the version": (
        {"s3sync-version": "v"},
        {"s3sync-meta-s3sync-2dversion": "v"},
    ),
    "s3sync's field for the key": ({"s3sync-key": "k"}, {"s3sync-meta-s3sync-2dkey": "k"}),
    "s3sync's field for a header": (
        {"s3sync-header-content-type": "t"},
        {"s3sync-meta-s3sync-2dheader-2dcontent-2dtype": "t"},
    ),
    "looks rewritten": (
        {"s3sync-meta-taken-5fby": "me"},
        {"s3sync-meta-s3sync-2dmeta-2dtaken-2d5fby": "me"},
    ),
    "a name with s3sync's prefix": ({"s3sync-": "a"}, {"s3sync-meta-s3sync-2d": "a"}),
    "2 KB of Chinese": (
        {"v": wire("图" * 682)},
        {"s3sync-meta-v": "%E5%9B%BE" * 682},
    ),
}

# Of these, a bucket that takes UTF-8 takes the metadata as it is.
_UTF8 = {"Chinese, as bytes", "emoji, as bytes", "2 KB of Chinese"}

_CONTENT_TYPE = {"content-type": "text/plain"}

_HEADERS: Mapping[str, Mapping[str, str]] = {
    _NO_TYPE: {},
    "a type alone": {"content-type": "image/jpeg"},
    "a type with a charset": {"content-type": "text/html; charset=gbk"},
    "a type with quotes": {"content-type": 'multipart/mixed; boundary="a b"'},
    "an unknown type": {"content-type": "x/y+z"},
    "caching alone": {"cache-control": "public, max-age=31536000, immutable"},
    "no caching": {"cache-control": "no-cache, no-store, must-revalidate"},
    "disposition alone": {"content-disposition": "inline"},
    "disposition with a file name": {"content-disposition": 'attachment; filename="a b;c.txt"'},
    "disposition with an encoded file name": {
        "content-disposition": "attachment; filename*=UTF-8''%E6%97%A5%20.txt"
    },
    "language alone": {"content-language": "zh-CN"},
    "languages": {"content-language": "de, en;q=0.5"},
    "an encoding alone": {"content-encoding": "identity"},
    "expiry alone": {"expires": "Wed, 01 Dec 2094 16:00:00 GMT"},
    "expiry in the past": {"expires": "Thu, 01 Jan 1970 00:00:00 GMT"},
    "expiry that is not a date": {"expires": "0"},
    "expiry in another form": {"expires": "2094-12-01T16:00:00Z"},
    "all at once": {
        "content-type": "text/csv; charset=utf-8; header=present",
        "cache-control": "private, max-age=0",
        "content-disposition": 'attachment; filename="all.csv"',
        "content-encoding": "identity",
        "content-language": "en-GB",
        "expires": "Wed, 01 Dec 2094 16:00:00 GMT",
    },
}

_ODD_HEADERS: Mapping[str, tuple[Mapping[str, str], str, str, str]] = {
    # The header as sent; its name; the rewritten, readable value; the field with the exact value.
    "disposition in Chinese": (
        {"content-disposition": wire('attachment; filename="日 50%.txt"')},
        "content-disposition",
        'attachment; filename="%E6%97%A5 50%.txt"',
        'attachment;%20filename="%E6%97%A5%2050%25.txt"',
    ),
    "caching with a tab": (
        {"cache-control": "no-cache,\tno-store"},
        "cache-control",
        "no-cache,%09no-store",
        "no-cache,%09no-store",
    ),
    "language in Latin-1": (
        {"content-language": "fran\xe7ais"},
        "content-language",
        "fran%E7ais",
        "fran%E7ais",
    ),
}


def _odd_header(title: str) -> Sample:
    sent, name, readable, exact = _ODD_HEADERS[title]
    return sample(
        "content headers that OSS does not accept",
        title,
        Sent(headers={**_CONTENT_TYPE, **sent}),
        fail=_REFUSED,
        drop=Arrives(headers=_CONTENT_TYPE),
        rewrite=Arrives(
            headers={**_CONTENT_TYPE, name: readable}, metadata={f"s3sync-header-{name}": exact}
        ),
    )


_TOO_LARGE_WITH_OTHERS = "2 KB of Chinese"


def _header(title: str) -> Sample:
    headers = _HEADERS[title]
    if title == _NO_TYPE:
        # S3's type of an object that was sent without one.
        given = Arrives(headers={"content-type": "binary/octet-stream"})
        return sample(
            "content headers",
            title,
            Sent(headers=headers),
            everywhere=given,
            is_mapped_by_s3=True,
        )
    return sample("content headers", title, Sent(headers={**_CONTENT_TYPE, **headers}))


def _odd(title: str) -> Sample:
    sent, rewritten = _ODD[title]
    others = {} if title == _TOO_LARGE_WITH_OTHERS else {"kept": "as it is"}
    return sample(
        "user metadata that OSS does not accept",
        title,
        Sent(metadata={**sent, **others}),
        fail=_REFUSED,
        drop=Arrives(metadata=others),
        rewrite=Arrives(metadata={**rewritten, **others}),
        lenient=Arrives() if title in _UTF8 else _REFUSED,
    )


SAMPLES = [
    *map(_header, _HEADERS),
    *map(_odd_header, _ODD_HEADERS),
    *(sample("user metadata", title, Sent(metadata=fields)) for title, fields in _PLAIN.items()),
    sample(
        "names with capitals",
        "Taken-By",
        Sent(metadata={"Taken-By": "Me"}),
        everywhere=Arrives(metadata={"taken-by": "Me"}),
        is_mapped_by_s3=True,
    ),
    *map(_odd, _ODD),
    Sample(
        "metadata above OSS's limit",
        "2 KB of Chinese and a key of 1 KB",
        "键" * 341 + "k",
        Sent(metadata=_ODD[_TOO_LARGE_WITH_OTHERS][0]),
        {
            Variant.FAIL: Refused("key_incompatible"),
            Variant.DROP: LeftOut(),
            # 6 KB of rewritten metadata and 3 KB for the rewritten key exceed OSS's 8 KB.
            Variant.REWRITE: _REFUSED,
        },
    ),
]
