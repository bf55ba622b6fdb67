"""What the names of buckets, regions and endpoints have in common on all sides. Pure.

A mistake in a name is a sentence that says what to write instead.
"""

import re
from urllib.parse import SplitResult, urlsplit

# The mistakes of one source, destination or queue, by the field to correct.
Mistakes = dict[str, str]

# The label of a host name, which boto3 demands of a region.
REGION = re.compile(r"(?![0-9]+$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)")

_PROVIDERS = (".amazonaws.com", ".amazonaws.com.cn", ".aliyuncs.com")


def web_mistakes(*, endpoint_url: str) -> Mistakes:
    """The mistakes of a source that is a web server. An empty value is none."""
    _, mistake = split_url(endpoint_url)
    return only_mistakes({"endpoint_url": mistake})


def only_mistakes(found: Mistakes) -> Mistakes:
    """Leave out the fields without a mistake."""
    return {name: mistake for name, mistake in found.items() if mistake}


def split_url(url: str) -> tuple[SplitResult | None, str]:
    """The parts of a URL, or None and its mistake. An empty URL has neither."""
    if not url:
        return None, ""
    try:
        address = urlsplit(url)
        address.port  # noqa: B018 - raises ValueError
    except ValueError as error:
        return None, f"This is not an address: {error}."
    if not address.hostname:
        return None, "The address has no host name."
    return address, ""


def not_a_name(bucket: str) -> str:
    """The mistake of a bucket that was entered as a URL, as a host name or with a folder."""
    scheme, _, rest = bucket.rpartition("://")
    if scheme in {"http", "https"}:
        return "Enter the bucket's name alone, not its URL."
    name, _, folder = rest.partition("/")
    if name.endswith(_PROVIDERS):
        name = name.partition(".")[0]
    if name == bucket:
        return ""
    instead = f": {name}" if name else ""
    return f"Enter the bucket's name alone{instead}." + folder_hint(folder)


def folder_hint(folder: str) -> str:
    """Where to enter the folder that was entered with a bucket."""
    return " A folder belongs in the rule's source prefix." if folder.strip("/") else ""


def without_bucket(address: SplitResult, host: str, *, what: str = "") -> str:
    """The mistake of an endpoint that has the bucket's name before its own host."""
    port = f":{address.port}" if address.port else ""
    what = what or "The endpoint has the bucket's name in it"
    return f"{what}. Enter {address.scheme}://{host}{port}."
