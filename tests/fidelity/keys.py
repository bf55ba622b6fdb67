"""Samples of keys: keys that arrive unchanged, and the results for all others."""

import hashlib

from tests.fidelity.samples import Arrives, LeftOut, Refused, Sample, Sent, Variant

PREFIX = "p/q/"
LONGEST = "k" * 1023

_MARK = ".s3sync-key/"
_REFUSED = Refused("key_incompatible")

# Keys that OSS accepts, byte for byte.
_POSSIBLE = {
    "plain": "plain.txt",
    "spaces": "a b  c.txt",
    "leading space": " a",
    "trailing space": "a ",
    "only a space": " ",
    "plus": "a+b.txt",
    "plus and space": "a+ b",
    "percent": "100%",
    "percent that looks encoded": "a%2Fb%20c%2B",
    "percent of dots": "%2E%2E",
    "double slash": "a//b",
    "three slashes at the end": "a///",
    "dot segment": "a/./b",
    "dots segment": "a/../b",
    "begins with a dot segment": "./a",
    "begins with dots": "../a",
    "ends with a dot segment": "a/.",
    "ends with dots": "a/..",
    "three dots": "...",
    "hidden": ".hidden",
    "dot at the end": "a.",
    "NFC": "caf\u00e9.txt",
    "NFD": "cafe\u0301.txt",
    "Hangul syllables": "\ud55c\uae00",
    "Hangul letters": "\u1112\u1161\u11ab",
    "ligature": "\ufb01le",
    "Chinese": "图片/日本.jpg",
    "Arabic": "\u0645\u0644\u0641.txt",
    "Thai": "\u0e44\u0e1f\u0e25\u0e4c",
    "emoji": "\U0001f600.jpg",
    "emoji of several": "\U0001f468\u200d\U0001f469\u200d\U0001f467.jpg",
    "flag": "\U0001f1e8\U0001f1f3",
    "right to left mark": "a\u200fb",
    "zero width space": "a\u200bb",
    "byte order mark": "\ufeffa",
    "no-break space": "a\u00a0b",
    "line separator": "a\u2028b",
    "beyond the first plane": "\U0010fffd",
    "noncharacter": "a\ufdd0b",
    "tab": "a\tb",
    "line feed": "a\nb",
    "delete": "a\x7fb",
    "C1 control": "a\x85b",
    "backslash inside": "a\\b",
    "question mark": "?a=b",
    "question mark inside": "a?versionId=1",
    "hash": "a#b",
    "ampersand": "a&b=c",
    "XML": "<Key>&amp;\"'</Key>",
    "semicolon": "a;b",
    "colon": "a:b",
    "at": "a@b",
    "star": "a*b",
    "tilde": "~a",
    "braces": "{a}[b](c)",
    "quotes": "`a'b\"c",
    "dollar": "$a!",
    "pipe and caret": "a|b^c",
    "comma": "a,b=c",
    "URL": "https://example.com/a?b=c#d",
    "upper and lower": "UPPER/lower",
    "looks like a subresource": "uploads",
    "the mark without its slash": ".s3sync-key",
    "looks like s3sync's field": "s3sync-etag",
}

# Keys that OSS does not accept: the key; the rewritten key after `.s3sync-key/escaped/`; whether a
# destination prefix makes the key valid.
_IMPOSSIBLE = {
    "leading slash": ("/a", "%2Fa", True),
    "two leading slashes": ("//a", "%2F/a", True),
    "only a slash": ("/", "%2F", True),
    "leading backslash": ("\\a", "%5Ca", True),
    "dot": (".", "%2E", True),
    "dots": ("..", "%2E.", True),
    "leading slash and control": ("/a\x01", "%2Fa%01", False),
    "control 01": ("a\x01b", "a%01b", False),
    "control 08": ("\x08", "%08", False),
    "vertical tab": ("a\x0bb", "a%0Bb", False),
    "carriage return": ("a\rb", "a%0Db", False),
    "CR LF": ("a\r\nb", "a%0D\nb", False),
    "escape": ("a\x1bb", "a%1Bb", False),
    "unit separator": ("a\x1fb", "a%1Fb", False),
    "FFFE": ("a\ufffeb", "a%EF%BF%BEb", False),
    "FFFF": ("\uffff", "%EF%BF%BF", False),
    "control and percent": ("50%\x01", "50%25%01", False),
    "control and Chinese": ("图\x02", "图%02", False),
}

# Keys that OSS accepts, but that look rewritten: under REWRITE they are rewritten too.
_LOOK_REWRITTEN = {
    "escaped": (f"{_MARK}escaped/a", "%2Es3sync-key/escaped/a"),
    "escaped percent": (f"{_MARK}escaped/%2Fa", "%2Es3sync-key/escaped/%252Fa"),
    "hashed": (f"{_MARK}sha256/{'0' * 64}", f"%2Es3sync-key/sha256/{'0' * 64}"),
    "deeper": (f"photos/{_MARK}x", "photos/%2Es3sync-key/x"),
    "twice": (f"{_MARK}{_MARK}", "%2Es3sync-key/%2Es3sync-key/"),
}

_TOO_LONG = {
    "1,024 bytes": "k" * 1024,
    "1,024 bytes of Chinese": "图" * 341 + "k",
    "1,024 bytes in folders": "folder/" * 146 + "kk",
    "1,020 bytes of controls": "\x01" * 1020,
}


def _at(key: str) -> Arrives:
    return Arrives(key=key)


def _hashed(prefix: str, key: str) -> Arrives:
    wanted = f"{prefix}{key}"
    return _at(f"{prefix}{_MARK}sha256/{hashlib.sha256(wanted.encode()).hexdigest()}")


def _key(group: str, title: str, key: str, **expected: Arrives | Refused | LeftOut) -> Sample:
    by_variant = {Variant(name): value for name, value in expected.items()}
    body = b"" if key.endswith("/") else key.encode()
    return Sample(group, title, key, Sent(body=body), by_variant)


def _possible(group: str, title: str, key: str) -> Sample:
    as_sent = Arrives()
    return _key(
        group,
        title,
        key,
        fail=as_sent,
        drop=as_sent,
        rewrite=as_sent,
        prefix=_at(f"{PREFIX}{key}"),
    )


def _samples() -> list[Sample]:
    found = [_possible("keys", title, key) for title, key in _POSSIBLE.items()]
    found += [
        _possible("folder markers", title, key)
        for title, key in {"folder": "folder/", "deep": "folder/sub/", "beside": "folder"}.items()
    ]
    for title, key in {"1,023 bytes": LONGEST, "1,023 bytes of Chinese": "图" * 341}.items():
        as_sent = Arrives()
        found.append(
            _key(
                "long keys",
                title,
                key,
                fail=as_sent,
                drop=as_sent,
                rewrite=as_sent,
                prefix=_hashed(PREFIX, key),
            )
        )
    for title, key in _TOO_LONG.items():
        found.append(
            _key(
                "keys that are too long",
                title,
                key,
                fail=_REFUSED,
                drop=LeftOut(),
                rewrite=_hashed("", key),
                prefix=_hashed(PREFIX, key),
            )
        )
    for title, (key, tail, a_prefix_helps) in _IMPOSSIBLE.items():
        below = key if a_prefix_helps else f"{_MARK}escaped/{tail}"
        found.append(
            _key(
                "keys that OSS does not accept",
                title,
                key,
                fail=_REFUSED,
                drop=LeftOut(),
                rewrite=_at(f"{_MARK}escaped/{tail}"),
                prefix=_at(f"{PREFIX}{below}"),
            )
        )
    for title, (key, tail) in _LOOK_REWRITTEN.items():
        found.append(
            _key(
                "keys that look rewritten",
                title,
                key,
                fail=Arrives(),
                drop=Arrives(),
                rewrite=_at(f"{_MARK}escaped/{tail}"),
                prefix=_at(f"{PREFIX}{_MARK}escaped/{tail}"),
            )
        )
    return found


SAMPLES = _samples()
