"""Killing any process of a cluster at any moment costs time, and nothing else."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from uuid import UUID

import pytest

from replication.cluster.ipc import MAX_MESSAGE_BYTES, TRUNCATED_RESULT_CHARACTERS, Mailbox
from replication.models import Heartbeat, Job, JobState, LoopKind
from sandbox.child import Child
from sandbox.oss import Fault
from tests.support.processes import eventually, manage, members
from tests.support.road import Road
from tests.support.threads import at_once


def processes(cluster: Child, role: str) -> set[int]:
    """The pids of the pusher, monitor, workers or sentinel."""
    found = set()
    for pid in members(cluster):
        with suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/comm").read_text() == f"q-{role}\n":
                found.add(pid)
    return found


def busy_workers(cluster: Child) -> set[int]:
    """The pids of the workers that run a loop."""
    pids = Heartbeat.objects.filter(pid__isnull=False).values_list("pid", flat=True)
    return {pid for pid in pids if pid} & members(cluster)


def working_lane(cluster: Child) -> set[int]:
    (lane,) = Job.objects.filter(state=JobState.RUNNING).values_list("claimed_by", flat=True)
    assert lane
    pid = Heartbeat.objects.get(id=lane).pid
    assert pid in members(cluster)
    return {pid}


def idle_workers(cluster: Child) -> set[int]:
    """The pids of all idle workers: one of them gets the next task."""
    return processes(cluster, "worker") - busy_workers(cluster)


VICTIMS: dict[str, Callable[[Child], set[int]]] = {
    "idle workers": idle_workers,
    "the working lane": working_lane,
    "the pusher": lambda cluster: processes(cluster, "pusher"),
    "the monitor": lambda cluster: processes(cluster, "monitor"),
    "the sentinel": lambda cluster: processes(cluster, "sentinel"),
}


def new_loops(kind: LoopKind, known: set[UUID]) -> set[UUID]:
    loops = Heartbeat.objects.filter(kind=kind, started_at__isnull=False)
    return set(loops.values_list("id", flat=True)) - known


@pytest.mark.django_db(transaction=True)
def test_after_each_kill_lanes_and_pollers_work_and_renew_themselves_until_a_stop(
    road: Road, tmp_path: Path
) -> None:
    environment = {"S3SYNC_LANE_SECONDS": "4", "S3SYNC_LEASE_SECONDS": "5"}
    road.aws.client("sqs").set_queue_attributes(
        QueueUrl=road.queue.url, Attributes={"VisibilityTimeout": "3"}
    )
    with manage("qcluster", directory=tmp_path, **environment) as cluster:
        for victim in VICTIMS:
            kill_and_wait(road, cluster, victim)

        os.kill(cluster.pid, signal.SIGTERM)
        eventually(lambda: not cluster.is_running())
        assert not members(cluster)


def kill_and_wait(road: Road, cluster: Child, victim: str) -> None:
    """Kill these processes, and wait until all kinds of loops have done and renewed their work."""
    # This job is in flight: if its lane dies, only the end of its lease frees it.
    road.oss.add_fault(Fault(operation="PutObject", delay_seconds=6))
    road.put(f"before {victim}")
    running = Job.objects.filter(state=JobState.RUNNING)
    eventually(running.exists, unless_ended=cluster)
    eventually(lambda: busy_workers(cluster) and idle_workers(cluster), unless_ended=cluster)

    victims = VICTIMS[victim](cluster)
    assert victims, victim
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    known = {kind: new_loops(kind, set()) for kind in (LoopKind.LANE, LoopKind.POLLER)}
    road.put(f"after {victim}")
    # Wait for two generations of each kind: the first asks for the second.
    for _ in range(2):
        for kind, seen in known.items():
            seen.update(eventually(partial(new_loops, kind, seen)))
    done = Job.objects.filter(state=JobState.COMPLETED, key__endswith=victim)
    eventually(lambda: done.count() == 2, unless_ended=cluster)
    assert not victims & members(cluster), victim
    assert cluster.is_running(), victim


@pytest.mark.django_db(transaction=True)
def test_no_process_outlives_the_first_process(road: Road, tmp_path: Path) -> None:
    road.oss.add_fault(Fault(operation="PutObject", delay_seconds=60))
    road.put("a")
    with manage("qcluster", directory=tmp_path) as cluster:
        eventually(Job.objects.filter(state=JobState.RUNNING).exists, unless_ended=cluster)
        assert len(members(cluster)) > 4
        os.kill(cluster.pid, signal.SIGKILL)
        eventually(lambda: not members(cluster))


@pytest.mark.django_db(transaction=True)
def test_a_stop_ends_even_if_the_sentinel_hangs(road: Road, tmp_path: Path) -> None:
    with manage("qcluster", directory=tmp_path) as cluster:
        (pid,) = eventually(
            lambda: busy_workers(cluster) and processes(cluster, "sentinel"), unless_ended=cluster
        )
        os.kill(pid, signal.SIGSTOP)
        os.kill(cluster.pid, signal.SIGTERM)
        eventually(lambda: not cluster.is_running())
        eventually(lambda: not members(cluster))


def test_killed_receivers_neither_lose_a_message_nor_block_the_mailbox() -> None:
    mailbox = Mailbox()
    receivers = [get_context("fork").Process(target=mailbox.get) for _ in range(3)]
    for receiver in receivers:
        receiver.start()
    for receiver in receivers:
        receiver.kill()
        receiver.join()
    mailbox.put({"name": "a"})
    assert mailbox.get() == {"name": "a"}
    assert mailbox.empty()


def test_each_message_is_received_exactly_once_by_one_of_many_receivers() -> None:
    mailbox = Mailbox()
    numbers = range(200)

    def send(part: range) -> list[int]:
        for number in part:
            mailbox.put({"number": number})
        return []

    def receive() -> list[int]:
        return [mailbox.get()["number"] for _ in range(100)]

    received = at_once(lambda: send(numbers[:100]), lambda: send(numbers[100:]), receive, receive)
    assert sorted(number for part in received for number in part) == list(numbers)


def test_one_at_a_time_waits_for_a_receiver_except_with_the_stop_message() -> None:
    mailbox = Mailbox(one_at_a_time=True)
    mailbox.put({"number": 1})
    sender = get_context("fork").Process(target=mailbox.put, args=({"number": 2},))
    sender.start()
    sender.join(0.3)
    assert sender.is_alive()
    assert mailbox.get() == {"number": 1}
    sender.join(90)
    assert not sender.is_alive()
    mailbox.put("STOP")
    assert [mailbox.get(), mailbox.get()] == [{"number": 2}, "STOP"]


def test_an_overlong_result_is_truncated_and_an_overlong_task_is_refused() -> None:
    mailbox = Mailbox()
    mailbox.put({"name": "a", "result": "x" * MAX_MESSAGE_BYTES + "the end"})
    received = mailbox.get()
    assert received["name"] == "a"
    assert received["result"].endswith("the end")
    assert len(received["result"]) == TRUNCATED_RESULT_CHARACTERS
    with pytest.raises(ValueError, match="longer than"):
        mailbox.put({"args": "x" * MAX_MESSAGE_BYTES})
