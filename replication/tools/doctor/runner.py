"""Legs at the same time, each on a thread of its own, and each within its time: never a hang."""

import time
from collections.abc import Hashable, Iterable, Mapping
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from replication.tools.doctor.findings import Check, Examined, Finding, Leg, failed, unknown

AT_ONCE = 16
LEG_SECONDS = 15.0


def run(
    legs: Mapping[Hashable, Leg], *, after: Mapping[Hashable, Examined], seconds: float
) -> dict[Hashable, Examined]:
    """Look at all legs; a leg that stands on one in `after` that failed is not looked at.

    Args:
        seconds: how long a leg may take. A thread that takes longer is left behind, and ends with
            the process.
    """
    examined: dict[Hashable, Examined] = {}
    waiting: list[tuple[Hashable, _Walk]] = []
    for key, leg in legs.items():
        broken = [after[each] for each in leg.stands_on if each in after and after[each].has_failed]
        if broken:
            examined[key] = _not_looked_at(leg, broken)
        else:
            waiting.append((key, _Walk(leg)))
    for key, walk in _all_ended(waiting, seconds=seconds):
        examined[key] = walk.examined(seconds=seconds)
    return {key: examined[key] for key in legs}


class _Walk:
    """A leg being looked at; what it found so far can be had at any time."""

    def __init__(self, leg: Leg) -> None:
        self._leg = leg
        self._lock = Lock()
        self._findings: list[Finding] = []
        self._has_ended = False

    def start(self, ended: "SimpleQueue[_Walk]") -> None:
        # Not a pool's thread: Python waits for those at its end.
        Thread(target=self._run, args=(ended,), name=self._leg.place, daemon=True).start()

    def examined(self, *, seconds: float) -> Examined:
        with self._lock:
            findings = list(self._findings)
            if not self._has_ended:
                findings.append(_broken_off(self._leg, seconds))
        return Examined(self._leg.place, self._leg.rule, tuple(findings))

    def _run(self, ended: "SimpleQueue[_Walk]") -> None:
        try:
            for finding in self._leg.examine():
                self._add(finding)
        except Exception as error:
            # A fault of ours in one leg must not hide what the others found.
            self._add(
                failed(
                    Check.LEG,
                    f"doctor itself failed here: {type(error).__name__}: {error}",
                    fix="Report it, with this text.",
                )
            )
        with self._lock:
            self._has_ended = True
        ended.put(self)

    def _add(self, finding: Finding) -> None:
        with self._lock:
            self._findings.append(finding)


def _all_ended(
    waiting: list[tuple[Hashable, _Walk]], *, seconds: float
) -> Iterable[tuple[Hashable, _Walk]]:
    """Each with its key, once it has ended or its time is up."""
    ended: SimpleQueue[_Walk] = SimpleQueue()
    ends_at: dict[_Walk, float] = {}
    keys = {walk: key for key, walk in waiting}
    to_start = [walk for _, walk in reversed(waiting)]
    while to_start or ends_at:
        while to_start and len(ends_at) < AT_ONCE:
            walk = to_start.pop()
            walk.start(ended)
            ends_at[walk] = time.monotonic() + seconds
        first = min(ends_at, key=lambda walk: ends_at[walk])
        try:
            done = ended.get(timeout=max(0.0, ends_at[first] - time.monotonic()))
        except Empty:
            done = first
        if ends_at.pop(done, None) is not None:  # or it ended after its time was up
            yield keys[done], done


def _not_looked_at(leg: Leg, broken: list[Examined]) -> Examined:
    places = " and ".join(dict.fromkeys(each.place for each in broken))
    finding = unknown(Check.LEG, f"not looked at: {places} failed", fix="Mend that first.")
    return Examined(leg.place, leg.rule, (finding,))


def _broken_off(leg: Leg, seconds: float) -> Finding:
    left = f"; {leg.leaves}" if leg.leaves else ""
    return failed(
        Check.LEG,
        f"no answer in {seconds:g} s, and the rest was not looked at{left}",
        fix="Look at the network between here and there: a proxy or firewall that holds answers "
        "back, or a server under load. Then run it again.",
    )
