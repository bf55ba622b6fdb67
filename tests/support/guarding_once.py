"""Settings under which django-q's sentinel would ask its scheduler at once, and not after 30 s."""

from s3sync.settings import *  # noqa: F403
from s3sync.settings import Q_CLUSTER

Q_CLUSTER["guard_cycle"] = 30
