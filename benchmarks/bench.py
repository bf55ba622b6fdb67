"""Measures s3sync, `juicefs sync` and `rclone copy` in one sitting, and writes RESULTS.md.

python -m benchmarks.bench [--quick] [--rows small_local,intake]
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import peers, report
from benchmarks.report import Row
from benchmarks.rows import (
    claims,
    freshness,
    growth,
    history,
    intake,
    large,
    one_change,
    small,
    sweeps,
    wan,
)
from benchmarks.sitting import Sitting
from sandbox.postgres_binaries import find_binaries

FOLDER = Path(__file__).resolve().parent

ROWS: dict[str, Callable[[Sitting], Row]] = {
    "small_local": small.measure_local,
    "small_wan": small.measure_wan,
    "wan_best": wan.measure_best,
    "wan_shipped": wan.measure_shipped,
    "large_local": large.measure_local,
    "large_wan": large.measure_wan,
    "one_change": one_change.measure,
    "freshness": freshness.measure,
    "intake": intake.measure,
    "growth": growth.measure,
    "claims": claims.measure_claims,
    "commits": claims.measure_commits,
    "snapshot": history.measure_snapshot,
    "prune": history.measure_prune,
    "compare": sweeps.measure_compare,
    "compare_wan": sweeps.measure_compare_wan,
    "compare_large": sweeps.measure_growth,
    "backfill": sweeps.measure_backfill,
    "backfill_wan": sweeps.measure_backfill_wan,
    "lost_change": sweeps.measure_lost_change,
    "live_beside": sweeps.measure_live_beside,
    "shared_sweep": sweeps.measure_shared,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds with fewer objects")
    parser.add_argument("--rows", default=",".join(ROWS), help="names of rows, by commas")
    parser.add_argument(
        "--into", type=Path, default=FOLDER, metavar="FOLDER", help="where to write the results"
    )
    options = parser.parse_args()
    names = options.rows.split(",")
    if unknown := set(names) - ROWS.keys():
        parser.error(f"unknown rows: {', '.join(sorted(unknown))}; the rows are {', '.join(ROWS)}")
    # Exit by an exception, so that all processes are stopped and their folders removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    peers.require_namespaces()
    about = {
        **report.about_this_machine(),
        "form": "quick: too small to compare figures with" if options.quick else "full",
        "peers": ", ".join(f"{name} {version}" for name, version in peers.versions().items()),
        "database": _postgres_version(),
        "load average": f"{os.getloadavg()[0]:.1f} before",
    }
    rows: dict[str, Row] = {}
    with Sitting(is_quick=options.quick) as sitting:
        for name in names:
            began = time.monotonic()
            rows[name] = ROWS[name](sitting)
            print(f"\n{rows[name].as_markdown()}\n\n{time.monotonic() - began:.0f} s", flush=True)
            # Write after each row, so that a failure keeps the earlier rows.
            (options.into / "results.json").write_text(report.as_json(rows, about))
            (options.into / "RESULTS.md").write_text(report.as_markdown(rows, about))
    missed = report.missed_checks(rows)
    for name, check in missed:
        print(f"missed: {name}: {check}", file=sys.stderr)
    sys.exit(1 if missed else 0)


def _postgres_version() -> str:
    program = find_binaries().folder / "postgres"
    return subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    main()
