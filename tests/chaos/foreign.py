"""Objects of other programs in the destination buckets, which the service must not touch.

None lies where a replica belongs under any edit: a copy overwrites what lies there, as the place is
the rule's. Some lie where the replicas of keys would be for which only deletes are announced.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import oss2

from replication.mapping.ownership import source_mark
from sandbox.environment import Sandbox
from tests.chaos.rules import Place

GHOSTS = 40
THREADS = 8
# Properties that tell whether somebody has written the object since.
_HEADERS = ("etag", "last-modified", "content-type", "x-oss-hash-crc64ecma")


def ghost_keys() -> list[str]:
    """Keys that the source never has, for which deletes are announced."""
    return [f"{number % 17}/ghost/{number}" for number in range(GHOSTS)]


def foreign_places(ghosts: Iterable[Place], destinations: Iterable[str]) -> list[Place]:
    """Where foreign objects lie: beside and below the rules' prefixes, and at the ghosts' keys."""
    names = ("report.pdf", "one/foreign", "two/foreign", "one/moved/foreign", "0/foreign", "1")
    beside = {(destination, name) for destination in destinations for name in names}
    return sorted(beside | set(ghosts))


@dataclass(frozen=True)
class Snapshot:
    """A foreign object's bytes, and what else tells that it was touched."""

    body: bytes
    properties: dict[str, str]
    tags: dict[str, str]


class Foreign:
    """The foreign objects at these places; `buckets` has the bucket of each destination."""

    def __init__(
        self, sandbox: Sandbox, places: list[Place], *, buckets: Mapping[str, str]
    ) -> None:
        auth = oss2.AuthV4(sandbox.oss.access_key_id, sandbox.oss.access_key_secret)
        endpoint, region = sandbox.oss.endpoint_url, sandbox.oss.region
        self._buckets = {
            name: oss2.Bucket(auth, endpoint, bucket, region=region, enable_crc=False)
            for name, bucket in buckets.items()
        }
        self._source_bucket = sandbox.source_bucket
        self.places = places
        self._before: dict[Place, Snapshot | None] = {}

    def lay(self) -> None:
        """Put the objects, without metadata or with that of other programs."""
        kinds = [
            {},
            {"x-oss-meta-owner": "another program"},
            {"x-oss-meta-s3sync-source": "another-bucket/key", "x-oss-meta-s3sync-etag": "e"},
            {"x-oss-meta-s3sync-source": source_mark(self._source_bucket, "another/key")},
        ]

        def put(number: int, place: Place) -> None:
            headers = {**kinds[number % len(kinds)], "x-oss-tagging": "of=others"}
            self._buckets[place[0]].put_object(place[1], f"foreign {number}", headers=headers)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(put, range(len(self.places)), self.places))
            self._before = dict(zip(self.places, pool.map(self._look, self.places), strict=True))

    def touched(self) -> list[Place]:
        """The objects that are gone or have changed."""
        with ThreadPoolExecutor(THREADS) as pool:
            now = dict(zip(self.places, pool.map(self._look, self.places), strict=True))
        return [place for place in self.places if now[place] != self._before[place]]

    def _look(self, place: Place) -> Snapshot | None:
        bucket, key = self._buckets[place[0]], place[1]
        try:
            found = bucket.get_object(key)
            tags = bucket.get_object_tagging(key).tag_set.tagging_rule
        except oss2.exceptions.NoSuchKey:
            return None
        headers = {name.lower(): value for name, value in found.headers.items()}
        properties = {
            name: value
            for name, value in headers.items()
            if name in _HEADERS or name.startswith("x-oss-meta-")
        }
        return Snapshot(found.read(), properties, dict(tags))
