"""Any two listings are merged as two dictionaries would be, in however many slices."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.models import Destination, ReplicationRule, Source
from replication.stores.listing import ListedObject, ListedPage, check_order
from replication.sweep.merging import KeyMap, Merge, Pair, Range, Step
from replication.sweep.splitting import find_splits, narrowness, shared_beginning

PAGE = 3
# Beside each other in the order of bytes, and not in that of UTF-16.
LETTERS = "a/0\x00 \ue000\ufffd\U0001f600\U0010ffff"
keys = st.text(LETTERS, min_size=1, max_size=6)
etags = st.sampled_from(["0" * 32, "1" * 32])


class Listing:
    """The objects of a bucket, listed in pages of PAGE keys."""

    def __init__(self, objects: dict[str, str]) -> None:
        self.objects = objects
        self.requests = 0

    def list_page(self, *, prefix: str, after: str, limit: int = PAGE) -> ListedPage:
        self.requests += 1
        found = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        page = [ListedObject(key, 1, self.objects[key], "", "") for key in found[:limit]]
        check_order((one.key for one in page), after=after)
        return ListedPage.of(page, is_truncated=len(found) > limit)

    def list_page_in_any_order(self, *, prefix: str, token: str) -> ListedPage:
        raise NotImplementedError


def a_rule(**fields: str | bool) -> ReplicationRule:
    values = {"source_prefix": "", "destination_prefix": "", **fields}
    return ReplicationRule(source=Source(bucket="b"), destination=Destination(), **values)


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def merged(merge: Merge) -> tuple[int, list[Pair], list[Step]]:
    steps = list(merge.steps())
    return sum(one.equal for one in steps), [pair for one in steps for pair in one.pairs], steps


def expected(source: dict[str, str], replicas: dict[str, str]) -> tuple[int, dict[str, str]]:
    """How many keys are equal, and the others with the sides that have them."""
    equal = sum(replicas.get(key) == etag for key, etag in source.items())
    differ = {
        key: ("s" if key in source else "") + ("r" if key in replicas else "")
        for key in source.keys() | replicas.keys()
        if source.get(key) != replicas.get(key)
    }
    return equal, differ


def sides(pairs: list[Pair]) -> dict[str, str]:
    found = {
        pair.key: ("s" if pair.source else "") + ("r" if pair.replica else "") for pair in pairs
    }
    assert len(found) == len(pairs)  # no key twice
    return found


@given(
    source=st.dictionaries(keys, etags, max_size=30),
    replicas=st.dictionaries(keys, etags, max_size=30),
    bounds=st.sets(keys, max_size=4),
)
def test_slices_of_two_listings_have_each_key_once(
    executor: ThreadPoolExecutor,
    source: dict[str, str],
    replicas: dict[str, str],
    bounds: set[str],
) -> None:
    ends = [*sorted(bounds), None]
    equal, pairs = 0, []
    for after, until in zip(["", *sorted(bounds)], ends, strict=True):
        span = Range("", after, until)
        merge = Merge(
            a_rule(), Listing(source), Listing(replicas), span, executor=executor, skips_equal=None
        )
        found_equal, found, _ = merged(merge)
        equal += found_equal
        pairs += found
    assert (equal, sides(pairs)) == expected(source, replicas)


@given(
    source=st.dictionaries(keys, etags, min_size=1, max_size=30),
    replicas=st.dictionaries(keys, etags, max_size=30),
    data=st.data(),
)
def test_a_slice_that_gives_its_rest_away_loses_no_key(
    executor: ThreadPoolExecutor,
    source: dict[str, str],
    replicas: dict[str, str],
    data: st.DataObject,
) -> None:
    """The rest is given away after any step, at any key after what is done with."""
    ours, theirs = Listing(source), Listing(replicas)
    merge = Merge(a_rule(), ours, theirs, Range(), executor=executor, skips_equal=None)
    steps, cursor, end = [], "", None
    for step in merge.steps():
        steps.append(step)
        cursor = max(cursor, step.last_key)
        if end is None and data.draw(st.booleans()):
            end = cursor + data.draw(keys)
            merge.end_at(end)
    if end is not None:
        rest = Merge(a_rule(), ours, theirs, Range("", end), executor=executor, skips_equal=None)
        steps += merged(rest)[2]
    pairs = [pair for one in steps for pair in one.pairs]
    assert (sum(one.equal for one in steps), sides(pairs)) == expected(source, replicas)
    assert sum(one.source.keys for one in steps) == len(source)
    assert sum(one.replicas.keys for one in steps) == len(replicas)


@given(
    source=st.dictionaries(keys, etags, max_size=20),
    fields=st.sampled_from(
        [
            {"destination_prefix": "图/"},
            {"source_prefix": "a", "strip_source_prefix": True, "destination_prefix": "q "},
            {"source_prefix": "a/", "destination_prefix": "z"},
        ]
    ),
)
def test_mapped_keys_meet_their_replicas(
    executor: ThreadPoolExecutor, source: dict[str, str], fields: dict[str, str | bool]
) -> None:
    rule = a_rule(**fields)
    ours = {key: etag for key, etag in source.items() if key.startswith(rule.source_prefix)}
    replicas = {rule.destination_key(key): etag for key, etag in ours.items()}
    foreign = {"\x01": "0" * 32, "zzzz": "0" * 32}
    merge = Merge(
        rule,
        Listing(source),
        Listing(replicas | foreign),
        Range(rule.source_prefix),
        executor=executor,
        skips_equal=None,
    )
    equal, pairs, _ = merged(merge)
    assert equal == len(ours)
    key_map = KeyMap(rule)
    assert all(key_map.wanted(key_map.source(pair.wanted_key)) == pair.wanted_key for pair in pairs)


def test_an_etag_with_a_line_break_lends_no_other_key_its_md5(executor: ThreadPoolExecutor) -> None:
    odd = f"{'0' * 32}\n{'0' * 32}"
    source, replicas = (Listing({"a": odd, "b": md5 * 32}) for md5 in "12")
    merge = Merge(a_rule(), source, replicas, Range(), executor=executor, skips_equal=None)
    equal, pairs, _ = merged(merge)
    assert (equal, [pair.key for pair in pairs]) == (0, ["a", "b"])


@given(st.sets(keys, min_size=1, max_size=40), st.data())
def test_splits_leave_keys_on_both_sides_of_each(found: set[str], data: st.DataObject) -> None:
    listing = Listing(dict.fromkeys(found, "0" * 32))
    ordered = sorted(found)
    cursor = data.draw(st.sampled_from(ordered))
    until = data.draw(st.sampled_from([None, *ordered]))
    splits = find_splits(listing, prefix="", cursor=cursor, until=until)
    rest = [key for key in ordered if key > cursor and (until is None or key <= until)]
    if not splits:
        # There is no rest, or all of it begins with the cursor, and so is small.
        assert all(key.startswith(cursor) for key in rest)
        return
    assert splits[0] > cursor
    assert until is None or splits[-1] < until
    for split, end in pairwise([*splits, until or 9 * "\U0010ffff"]):
        assert any(split < key <= end for key in rest)


def test_a_large_flat_folder_is_split_after_its_first_second_and_fourth_branch() -> None:
    listing = Listing({f"data/{number:06d}": "0" * 32 for number in range(0, 100_000, 10)})
    split = partial(find_splits, listing, prefix="", until=None)
    ends = [f"data/{end}\U0010ffff" for end in ("00", "01", "03", "07")]
    assert split(cursor="data/000990") == ends
    assert listing.requests <= 10
    assert split(cursor="data/051000") == [f"data/{end}\U0010ffff" for end in ("05", "06", "08")]
    assert split(cursor="data/081000") == ["data/08\U0010ffff"]


def test_a_folder_that_holds_nearly_all_keys_is_split_in_its_turn() -> None:
    large = {f"data/{number:06d}": "0" * 32 for number in range(0, 100_000, 10)}
    listing = Listing({"a": "", "dates": "", "zero": ""} | large)
    first = find_splits(listing, prefix="", cursor="a", until=None)
    assert first == ["a\U0010ffff", "d\U0010ffff"]
    second = find_splits(listing, prefix="", cursor="data/000990", until=first[1])
    assert second == ["data\U0010ffff"]
    third = find_splits(listing, prefix="", cursor="data/000990", until=second[0])
    assert third[:2] == ["data/00\U0010ffff", "data/01\U0010ffff"]


@given(st.sets(st.text(), max_size=20), st.text(), st.text())
def test_the_widest_rest_sorts_first(found: set[str], one: str, other: str) -> None:
    ends = sorted(found | {one, other, "\U0010ffff"})
    by_width = sorted(pairwise(ends), key=lambda slice_: narrowness(*slice_))
    shared = [shared_beginning(*slice_) for slice_ in by_width]
    assert shared == sorted(shared)
    assert narrowness(one, None) <= min(narrowness(*slice_) for slice_ in by_width)


def test_shared_beginnings() -> None:
    assert [shared_beginning(*two) for two in (("", "a"), ("ab", "ac"), ("a", "ab"))] == [0, 1, 1]
