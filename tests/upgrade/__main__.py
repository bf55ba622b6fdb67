"""Upgrades an installation from an earlier commit while it runs, with many jobs in all states, and
kills what can be killed: `migrate`, and the new cluster while it moves ended jobs into the history.
In the end every job, try and proof must be told as the old code told it, what was unfinished must
have been carried on, and both buckets must be equal.
"""

import argparse
import random
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from sandbox.bootstrap import BootstrapError
from sandbox.child import StartError
from tests.upgrade.journey import Journey, Plan
from tests.upgrade.old_code import BEFORE_HISTORY, CommitMissingError


def main() -> int:
    """Upgrade once; the exit status is 0 if nothing differs."""
    arguments = _arguments()
    plan = Plan(
        commit=arguments.commit,
        jobs=arguments.jobs,
        kills=arguments.kills,
        per_second=arguments.rate,
        calm_seconds=arguments.calm,
        seed=arguments.seed,
    )
    try:
        with ExitStack() as stack:
            logs = arguments.logs or Path(stack.enter_context(TemporaryDirectory()))
            logs.mkdir(parents=True, exist_ok=True)
            return Journey(plan, logs, stack).go()
    except KeyboardInterrupt:
        return 130
    except (BootstrapError, StartError, CommitMissingError) as failure:
        sys.stderr.write(f"The upgrade could not go on: {failure}\n")
        return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2_000_000)
    parser.add_argument("--from", dest="commit", default=BEFORE_HISTORY, metavar="COMMIT")
    parser.add_argument("--kills", type=int, default=3, help="how often the new cluster is killed")
    parser.add_argument("--rate", type=float, default=20.0, help="changes of the bucket a second")
    parser.add_argument("--calm", type=float, default=30.0, metavar="SECONDS", help="of each look")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep the processes' logs in DIR")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
