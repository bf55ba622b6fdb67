"""Weather: faults that last, one after the other, and how long after each one all is equal again.

Changes go on during a fault. A second pair of buckets, with a destination, a queue and credentials
of its own, shows what goes on beside the fault. The report has a line for each fault.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from urllib.parse import urlsplit

import psycopg

from sandbox.environment import Sandbox, connect_bucket_to_queue
from sandbox.oss_process import OssProcess
from tests.chaos.oss_control import OssControl
from tests.chaos.service import Service
from tests.chaos.verdict import source_contents
from tests.chaos.writer import Change, Made, Step, Writer, plan
from tests.support.proxy import UnreliableProxy

# Several times the longest wait before a retry: S3SYNC_RETRY_CAP_SECONDS is 5.
FAULT_SECONDS = 20.0
KEYS_PER_FAULT = 150
LARGE_OBJECTS = 3
LARGE_BYTES = 24 * 1024**2
TRICKLE_BYTES_PER_SECOND = 150.0
LOOK_SECONDS = 0.5
BESIDE_BUCKET = "s3sync-beside"
BESIDE_SECONDS = 0.25  # between two objects of the second pair
# The promise: from the end of a fault to equality.
MAX_SECONDS_TO_EQUALITY = 60.0

SETTINGS = {
    "S3SYNC_MAX_ATTEMPTS": "10",
    "S3SYNC_PROBE_SECONDS": "2",
    "S3SYNC_EXCHANGE_SECONDS": "3",
    "S3SYNC_PROFILE_BESIDE_ACCESS_KEY_ID": OssProcess.access_key_id,
    "S3SYNC_PROFILE_BESIDE_ACCESS_KEY_SECRET": OssProcess.access_key_secret,
}

_STATUS = """
import json
from replication.monitoring.status import read_status
print(json.dumps(sorted({problem.code for problem in read_status().problems})))
"""
_FAILED = """
from replication.errors import MEANINGS
from replication.models import Job, JobState, TransferJob
kinds = {code: meaning.disposition.name for code, meaning in MEANINGS.items()}
lasting = [code for code, kind in kinds.items() if kind in ("PERSON", "PERMANENT")]
print(Job.objects.filter(state=JobState.FAILED).exclude(error_code__in=lasting).count())
"""
_RETRY = """
from replication import jobs
from replication.models import Job, TransferJob
jobs.retry(TransferJob.objects.all())
"""


@dataclass(frozen=True)
class Observation:
    """What happened during one fault and after it.

    Lags are of the second pair's copies, in seconds; None where nothing was copied meanwhile.
    `equal_after` is None if it took too long.
    """

    fault: str
    copied: int  # jobs of the first pair that were completed during the fault
    beside_copied: int
    beside_p50: float | None
    beside_p99: float | None
    problems: list[str]
    equal_after: float | None


class Weather:
    """The faults, and the second pair of buckets; `stack` ends what this starts."""

    def __init__(
        self,
        stack: ExitStack,
        sandbox: Sandbox,
        oss: OssControl,
        source: UnreliableProxy,
        *,
        seed: int,
        announces: bool,
        say: Callable[[str], None],
    ) -> None:
        """`announces` has the changes announced here, where S3 tells nothing of its bucket."""
        self._sandbox = sandbox
        self._oss = oss
        self._source = source
        self._seed = seed
        self._unannounced: frozenset[Step] | None = frozenset() if announces else None
        self._say = say
        self._database = stack.enter_context(UnreliableProxy(sandbox.postgres.port))
        self._queue = stack.enter_context(UnreliableProxy(source.upstream_port))
        self._beside_oss = stack.enter_context(OssProcess(bucket=BESIDE_BUCKET))
        self.beside_queue_url = connect_bucket_to_queue(
            sandbox.aws, bucket=BESIDE_BUCKET, queue=BESIDE_BUCKET
        )
        self._beside_puts = 0
        self._usual: set[str] = set()
        self.log: list[Made] = []

    @property
    def settings(self) -> dict[str, str]:
        """Variables of the service's environment."""
        return {**SETTINGS, "DATABASE_URL": _by(self._database, self._sandbox.postgres.url)}

    @property
    def queue_url(self) -> str:
        """The queue of the first pair, by a proxy."""
        return _by(self._queue, self._sandbox.queue_url)

    @property
    def beside(self) -> dict[str, list[dict[str, object]]]:
        """What the rules file has for the second pair."""
        aws, oss = self._sandbox.aws, self._beside_oss
        return {
            "sources": [
                {
                    "name": "beside",
                    "bucket": BESIDE_BUCKET,
                    "region": aws.region,
                    "endpoint_url": aws.endpoint_url,
                }
            ],
            "destinations": [
                {
                    "name": "beside",
                    "bucket": BESIDE_BUCKET,
                    "endpoint": oss.endpoint_url,
                    "region": oss.region,
                    "credential_profile": "beside",
                }
            ],
            "rules": [{"name": "beside", "source": "beside", "destination": "beside"}],
            "queues": [{"name": "beside", "url": self.beside_queue_url, "region": aws.region}],
        }

    def run(self, service: Service, settle: Callable[[], bool]) -> list[Observation]:
        """Every fault once, in an order that the seed decides."""
        chance = random.Random(f"weather of {self._seed}")
        self._usual = self._problems(service)
        names = chance.sample(sorted(FAULTS), len(FAULTS))
        return [self._observe(service, name, settle) for name in names]

    def is_beside_equal(self) -> bool:
        """Whether the second pair of buckets is equal."""
        replicas = OssControl(self._beside_oss.endpoint_url).contents(BESIDE_BUCKET)
        return replicas == source_contents(self._sandbox, BESIDE_BUCKET)

    def failed_transient(self, service: Service) -> int:
        """How many jobs have failed by an error that passes by itself."""
        return int(service.ask(_FAILED).splitlines()[-1])

    def _observe(self, service: Service, name: str, settle: Callable[[], bool]) -> Observation:
        chance = random.Random(f"{name} of {self._seed}")
        steps = plan(chance, keys=KEYS_PER_FAULT, seconds=FAULT_SECONDS)
        writing = self._writer(steps, seed=chance.randrange(1 << 30))
        over = threading.Event()
        threads = [
            threading.Thread(target=writing.run, args=(threading.Event(),)),
            threading.Thread(target=self._write_beside, args=(over,)),
        ]
        began = self._now()
        with FAULTS[name](self, service):
            for thread in threads:
                thread.start()
            while threads[0].is_alive():
                threads[0].join(LOOK_SECONDS)
                service.revive()
            problems = sorted(self._problems(service) - self._usual)
            ended = self._now()
        over.set()
        threads[1].join()
        self.log += writing.log
        began_to_wait = time.monotonic()
        equal_after = time.monotonic() - began_to_wait if settle() else None
        copied, _, _ = self._lags("mirror", began, ended)
        beside = self._lags("beside", began, ended)
        observed = Observation(name, copied, *beside, problems, equal_after)
        self._say(f"weather {observed}")
        return observed

    def _writer(self, steps: list[Step], *, seed: int) -> Writer:
        return Writer(self._sandbox, steps, seed=seed, unannounced=self._unannounced)

    def _problems(self, service: Service) -> set[str]:
        """The codes of what the status page says is wrong."""
        return set(json.loads(service.ask(_STATUS).splitlines()[-1]))

    def _write_beside(self, over: threading.Event) -> None:
        s3 = self._sandbox.aws.client("s3")
        while not over.wait(BESIDE_SECONDS):
            self._beside_puts += 1
            key = f"{self._beside_puts}"
            s3.put_object(Bucket=BESIDE_BUCKET, Key=key, Body=key.encode())

    def _now(self) -> str:
        [(now,)] = self._ask("SELECT clock_timestamp()::text")
        return str(now)

    def _lags(self, rule: str, began: str, ended: str) -> tuple[int, float | None, float | None]:
        """How many jobs of a rule ended meanwhile, and the lag of those that were asked for."""
        [(copied, p50, p99)] = self._ask(
            """
            SELECT count(*) FILTER (WHERE finalized_at < %(ended)s),
                percentile_cont(0.5) WITHIN GROUP (ORDER BY lag),
                percentile_cont(0.99) WITHIN GROUP (ORDER BY lag)
            FROM (
                SELECT finalized_at, extract(epoch FROM finalized_at - event_at)::float8 AS lag
                FROM replication_job AS job
                JOIN replication_replicationrule AS rule ON rule.id = job.rule_id
                WHERE rule.name = %(rule)s AND job.state = 'completed'
                  AND event_at BETWEEN %(began)s AND %(ended)s
            ) AS meanwhile
            """,
            {"rule": rule, "began": began, "ended": ended},
        )
        return copied, p50, p99

    def _ask(self, query: str, values: dict[str, str] | None = None) -> list[tuple]:
        with psycopg.connect(self._sandbox.postgres.url, connect_timeout=5) as database:
            return database.execute(query, values).fetchall()

    # -- the faults ----------------------------------------------------------------------------

    @contextmanager
    def _none(self, service: Service) -> Iterator[None]:
        yield

    @contextmanager
    def _large_among_small(self, service: Service) -> Iterator[None]:
        names = [f"large/{number}" for number in range(LARGE_OBJECTS)]
        steps = [Step(0, name, Change.PUT, LARGE_BYTES) for name in names]
        writing = self._writer(steps, seed=self._seed)
        writing.run(threading.Event())
        self.log += writing.log
        yield

    @contextmanager
    def _oss_away(self, service: Service) -> Iterator[None]:
        self._oss.add_fault(reset=True, times=None)
        yield
        self._oss.clear_faults()

    @contextmanager
    def _oss_overloaded(self, service: Service) -> Iterator[None]:
        self._oss.add_fault(status=503, code="ServiceUnavailable", times=None)
        yield
        self._oss.clear_faults()

    @contextmanager
    def _credentials_expire(self, service: Service) -> Iterator[None]:
        self._oss.add_fault(status=403, code="SecurityTokenExpired", times=None)
        yield
        self._oss.clear_faults()

    @contextmanager
    def _prefix_denied(self, service: Service) -> Iterator[None]:
        self._oss.deny(key_prefix="3/", actions=["oss:PutObject"])
        yield
        self._oss.clear_denials()
        service.ask(_RETRY)  # what an operator does once the rights are as they should be

    @contextmanager
    def _host_with_a_wrong_secret(self, service: Service) -> Iterator[None]:
        name = service.cluster_names[0]
        service.kill(name, OSS_ACCESS_KEY_SECRET="an old secret")
        yield
        service.kill(name)

    @contextmanager
    def _s3_away(self, service: Service) -> Iterator[None]:
        self._source.take_down()
        yield
        self._source.is_down = False

    @contextmanager
    def _s3_trickles(self, service: Service) -> Iterator[None]:
        self._source.bytes_per_second = TRICKLE_BYTES_PER_SECOND
        self._source.break_all()
        yield
        self._source.bytes_per_second = None

    @contextmanager
    def _sqs_away(self, service: Service) -> Iterator[None]:
        self._queue.take_down()
        yield
        self._queue.is_down = False

    @contextmanager
    def _database_frozen(self, service: Service) -> Iterator[None]:
        self._database.freeze()
        yield

    @contextmanager
    def _database_fails_over(self, service: Service) -> Iterator[None]:
        """The old connections freeze; the address leads to the standby a little later."""
        with self._sandbox.postgres.standby():
            self._database.freeze()
            self._database.is_down = True
        self._database.upstream_port = self._sandbox.postgres.port
        self._database.is_down = False
        yield


FAULTS: dict[str, Callable[[Weather, Service], AbstractContextManager[None]]] = {
    "none": Weather._none,
    "large objects among small ones": Weather._large_among_small,
    "OSS can't be reached": Weather._oss_away,
    "OSS answers 503": Weather._oss_overloaded,
    "the credentials for OSS expire": Weather._credentials_expire,
    "OSS denies one prefix": Weather._prefix_denied,
    "one of two hosts has a wrong secret": Weather._host_with_a_wrong_secret,
    "S3 can't be reached": Weather._s3_away,
    "S3 sends 150 bytes/s": Weather._s3_trickles,
    "SQS can't be reached": Weather._sqs_away,
    "connections to the database freeze": Weather._database_frozen,
    "the database fails over to a standby": Weather._database_fails_over,
}


def _by(proxy: UnreliableProxy, url: str) -> str:
    """The URL of the same thing, by way of the proxy."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}127.0.0.1:{proxy.port}").geturl()


def table(observations: Iterable[Observation]) -> str:
    """docs/reports/faults.md."""
    return "\n".join(_lines(sorted(observations, key=attrgetter("fault")))) + "\n"


def _lines(observations: list[Observation]) -> Iterator[str]:
    yield "# Faults: what stops, and what goes on"
    yield ""
    yield (
        "`make chaos WEATHER=1 REPORT=docs/reports/faults.md` writes this page. Two clusters and "
        "two pollers replicate a bucket that changes all the time, while each fault lasts "
        f"{FAULT_SECONDS:g} s: several times the longest wait before a retry (scaled: "
        "`S3SYNC_RETRY_CAP_SECONDS=5`, `S3SYNC_PROBE_SECONDS=2`, `S3SYNC_LEASE_SECONDS=6`, "
        "`S3SYNC_READ_TIMEOUT_SECONDS=5`, `S3SYNC_EXCHANGE_SECONDS=3`). A second pair of buckets "
        "beside it, with a destination, credentials and a queue of its own, shows what goes on."
    )
    yield ""
    yield (
        "| fault | copied meanwhile | beside it: copied, lag p50, p99 | what the status says "
        "| all is equal after |"
    )
    yield "|---|---|---|---|---|"
    for each in observations:
        beside = f"{each.beside_copied}, {_seconds(each.beside_p50)}, {_seconds(each.beside_p99)}"
        problems = ", ".join(f"`{code}`" for code in each.problems) or "nothing"
        after = _seconds(each.equal_after)
        yield f"| {each.fault} | {each.copied} | {beside} | {problems} | {after} |"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"
