"""Strikes (kills, crashes, cut connections, faults), and the schedule that the seed decides."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from tests.chaos.oss_control import OssControl
from tests.chaos.service import READ_TIMEOUT_SECONDS, Service
from tests.support.proxy import UnreliableProxy

# A paused request is carried out after the pause even if its client gave up or was killed in the
# meantime; real OSS does so too. So old content may overwrite new content, for as long as the
# service regards a write as in doubt.
LONGEST_PAUSE_SECONDS = READ_TIMEOUT_SECONDS * 1.6
# Longer than the client waits. The write is carried out before the delay: only the answer is slow.
SLOW_ANSWER_SECONDS = READ_TIMEOUT_SECONDS + 2.0
SHORTEST_INTERVAL_SECONDS = 1.0
LONGEST_INTERVAL_SECONDS = 4.0


@dataclass(frozen=True)
class Strike:
    """One strike, at a time counted from the start; `number` seeds its random choices."""

    at_seconds: float
    name: str
    number: int


class Strikes:
    """All kinds of strikes against a service; `others` are further ones, by their names."""

    def __init__(
        self,
        service: Service,
        oss: OssControl,
        proxy: UnreliableProxy,
        say: Callable[[str], None],
        others: Mapping[str, Callable[[random.Random], str]],
    ) -> None:
        self._service = service
        self._oss = oss
        self._proxy = proxy
        self._say = say
        self._kinds: dict[str, Callable[[random.Random], str]] = {
            **{name: partial(kind, self) for name, kind in KINDS.items()},
            **others,
        }

    def schedule(self, chance: random.Random, *, seconds: float) -> list[Strike]:
        """Rounds of strikes: each round has every kind once, in a new random order."""
        interval = min(
            LONGEST_INTERVAL_SECONDS, max(SHORTEST_INTERVAL_SECONDS, seconds / len(self._kinds))
        )
        strikes: list[Strike] = []
        names: list[str] = []
        at_seconds = interval
        while at_seconds < seconds:
            if not names:
                names = chance.sample(sorted(self._kinds), len(self._kinds))
            strikes.append(Strike(at_seconds, names.pop(), chance.randrange(1 << 30)))
            at_seconds += interval * chance.uniform(0.5, 1.5)
        return strikes

    def run(self, schedule: list[Strike], stop: threading.Event) -> None:
        """Make the strikes at their times until the last one or `stop`; then end all faults."""
        started = time.monotonic()
        try:
            for strike in schedule:
                if stop.wait(max(0.0, started + strike.at_seconds - time.monotonic())):
                    return
                done = self._kinds[strike.name](random.Random(strike.number))
                self._say(f"strike {strike.name}: {done}")
        finally:
            self._oss.clear_faults()
            self._proxy.cut(0)

    def _kill_lane(self, chance: random.Random) -> str:
        return kill_one_of(self._service.loop_pids("lane"), chance)

    def _kill_idle_worker(self, chance: random.Random) -> str:
        lanes = self._service.loop_pids("lane")
        workers = [pid for pid in self._service.pids_of("q-worker") if pid not in lanes]
        return kill_one_of(workers, chance)

    def _kill_pusher(self, chance: random.Random) -> str:
        return kill_one_of(self._service.pids_of("q-pusher"), chance)

    def _kill_monitor(self, chance: random.Random) -> str:
        return kill_one_of(self._service.pids_of("q-monitor"), chance)

    def _kill_sentinel(self, chance: random.Random) -> str:
        return kill_one_of(self._service.pids_of("q-sentinel"), chance)

    def _kill_first_process(self, chance: random.Random) -> str:
        name = chance.choice(self._service.cluster_names)
        self._service.kill_first_process(name)
        return name

    def _kill_cluster(self, chance: random.Random) -> str:
        name = chance.choice(self._service.cluster_names)
        self._service.kill(name)
        return name

    def _kill_poller(self, chance: random.Random) -> str:
        name = chance.choice(self._service.poller_names)
        self._service.kill(name)
        return name

    def _crash_database(self, chance: random.Random) -> str:
        began = time.monotonic()
        self._service.sandbox.postgres.restart()
        return f"restarted in {time.monotonic() - began:.1f} s"

    def _cut_source(self, chance: random.Random) -> str:
        connections = chance.randrange(5, 40)
        self._proxy.cut(connections)
        return f"all connections and the next {connections}"

    def _reset_before(self, chance: random.Random) -> str:
        return self._fault(chance, reset=True, times=chance.randrange(5, 40))

    def _reset_after(self, chance: random.Random) -> str:
        return self._fault(chance, reset=True, when="after", times=chance.randrange(5, 40))

    def _internal_error(self, chance: random.Random) -> str:
        when = chance.choice(("before", "after"))
        return self._fault(chance, status=500, when=when, times=chance.randrange(5, 40))

    def _throttle(self, chance: random.Random) -> str:
        return self._fault(
            chance,
            status=503,
            code="TotalQpsLimitExceeded",
            qos_delay_ms=chance.randrange(100, 2000),
            times=chance.randrange(5, 60),
        )

    def _pause(self, chance: random.Random) -> str:
        delay_seconds = chance.uniform(0.2, LONGEST_PAUSE_SECONDS)
        return self._fault(chance, delay_seconds=delay_seconds, times=chance.randrange(5, 40))

    def _slow_answer(self, chance: random.Random) -> str:
        times = chance.randrange(2, 8)
        return self._fault(chance, delay_seconds=SLOW_ANSWER_SECONDS, when="after", times=times)

    def _wrong_crc(self, chance: random.Random) -> str:
        return self._fault(
            chance, operation="PutObject", wrong_crc=True, times=chance.randrange(3, 12)
        )

    def _fault(self, chance: random.Random, **fault: object) -> str:
        """Arm a fault; returns its description."""
        fault = {"probability": 0.5, "seed": chance.randrange(1 << 30), **fault}
        self._oss.add_fault(**fault)
        return ", ".join(f"{name}={value}" for name, value in fault.items() if name != "seed")


def kill_one_of(pids: list[int], chance: random.Random) -> str:
    """Kill one of these processes with SIGKILL; returns which."""
    if not pids:
        return "no such process is alive"
    pid = chance.choice(pids)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return f"process {pid}"


KINDS: dict[str, Callable[[Strikes, random.Random], str]] = {
    "kill-lane": Strikes._kill_lane,
    "kill-idle-worker": Strikes._kill_idle_worker,
    "kill-pusher": Strikes._kill_pusher,
    "kill-monitor": Strikes._kill_monitor,
    "kill-sentinel": Strikes._kill_sentinel,
    "kill-first-process": Strikes._kill_first_process,
    "kill-cluster": Strikes._kill_cluster,
    "kill-poller": Strikes._kill_poller,
    "crash-database": Strikes._crash_database,
    "cut-source": Strikes._cut_source,
    "reset-before": Strikes._reset_before,
    "reset-after": Strikes._reset_after,
    "internal-error": Strikes._internal_error,
    "throttle": Strikes._throttle,
    "pause": Strikes._pause,
    "slow-answer": Strikes._slow_answer,
    "wrong-crc": Strikes._wrong_crc,
}
