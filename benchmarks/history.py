"""Adds a number of finished jobs to the first rule of the database at DATABASE_URL.

python -m benchmarks.history 5000000
"""

import os
import sys

import django


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "s3sync.settings"
    django.setup()
    from benchmarks.tables import Scale, fill_history  # noqa: PLC0415  imports the models

    fill_history(Scale(finished=int(sys.argv[1]), pending=0, failed=0, rules=1))


if __name__ == "__main__":
    main()
