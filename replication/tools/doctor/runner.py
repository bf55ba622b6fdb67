"""Runs groups of checks at the same time, each on its own thread and within its time."""

import time
from collections.abc import Hashable, Iterable, Mapping
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from replication.tools.doctor.findings import (
    Check,
    CheckGroup,
    CheckResults,
    Finding,
    failed,
    unknown,
)

MAX_CONCURRENT = 16
GROUP_SECONDS = 15.0


def run(
    groups: Mapping[Hashable, CheckGroup],
    *,
    earlier: Mapping[Hashable, CheckResults],
    seconds: float,
) -> dict[Hashable, CheckResults]:
    """Run all groups; skip a group that depends on one that failed in `earlier`.

    Args:
        seconds: how long a group may take. A thread that takes longer is left running, and ends
            with the process.
    """
    results: dict[Hashable, CheckResults] = {}
    to_run: list[tuple[Hashable, _Run]] = []
    for key, group in groups.items():
        dependencies = [earlier[each] for each in group.depends_on if each in earlier]
        broken = [each for each in dependencies if each.has_failed]
        if broken:
            results[key] = _skipped(group, broken)
        else:
            to_run.append((key, _Run(group)))
    for key, each_run in _all_ended(to_run, seconds=seconds):
        results[key] = each_run.results(seconds=seconds)
    return {key: results[key] for key in groups}


class _Run:
    """A group that is running; its findings so far can be read at any time."""

    def __init__(self, group: CheckGroup) -> None:
        self._group = group
        self._lock = Lock()
        self._findings: list[Finding] = []
        self._has_ended = False

    def start(self, ended: "SimpleQueue[_Run]") -> None:
        # Not a thread of a pool: Python waits for those at exit.
        Thread(target=self._collect, args=(ended,), name=self._group.subject, daemon=True).start()

    def results(self, *, seconds: float) -> CheckResults:
        with self._lock:
            findings = list(self._findings)
            if not self._has_ended:
                findings.append(_stopped(self._group, seconds))
        return CheckResults(self._group.subject, self._group.rule, tuple(findings))

    def _collect(self, ended: "SimpleQueue[_Run]") -> None:
        try:
            for finding in self._group.run():
                self._add(finding)
        except Exception as error:
            # A bug in one group must not hide what the others found.
            self._add(
                failed(
                    Check.INCOMPLETE,
                    f"a bug of doctor ended these checks: {type(error).__name__}: {error}",
                    fix="Report this text as a bug.",
                )
            )
        with self._lock:
            self._has_ended = True
        ended.put(self)

    def _add(self, finding: Finding) -> None:
        with self._lock:
            self._findings.append(finding)


def _all_ended(
    to_run: list[tuple[Hashable, _Run]], *, seconds: float
) -> Iterable[tuple[Hashable, _Run]]:
    """Start all runs; yield each with its key once it has ended or its time is up."""
    ended: SimpleQueue[_Run] = SimpleQueue()
    ends_at: dict[_Run, float] = {}
    keys = {each: key for key, each in to_run}
    to_start = [each for _, each in reversed(to_run)]
    while to_start or ends_at:
        while to_start and len(ends_at) < MAX_CONCURRENT:
            started = to_start.pop()
            started.start(ended)
            ends_at[started] = time.monotonic() + seconds
        first = min(ends_at, key=lambda each: ends_at[each])
        try:
            done = ended.get(timeout=max(0.0, ends_at[first] - time.monotonic()))
        except Empty:
            done = first
        if ends_at.pop(done, None) is not None:  # None: its time was up before it ended
            yield keys[done], done


def _skipped(group: CheckGroup, broken: list[CheckResults]) -> CheckResults:
    subjects = " and ".join(dict.fromkeys(each.subject for each in broken))
    finding = unknown(Check.INCOMPLETE, f"not checked: {subjects} failed", fix="Fix that first.")
    return CheckResults(group.subject, group.rule, (finding,))


def _stopped(group: CheckGroup, seconds: float) -> Finding:
    left = f"; {group.leaves_behind}" if group.leaves_behind else ""
    return failed(
        Check.INCOMPLETE,
        f"no answer within {seconds:g} s, so the remaining checks did not run{left}",
        fix="Check the network between this host and the server: a proxy or firewall that holds "
        "answers back, or a server under load. Then run doctor again.",
    )
