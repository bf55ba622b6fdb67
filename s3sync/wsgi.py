"""The WSGI application that the web server serves."""

import gc
import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from s3sync.environment import refuse_published_secret_key
from s3sync.postgresql.base import give_up_statements_after

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "s3sync.settings")
application = get_wsgi_application()
refuse_published_secret_key(settings.S3SYNC)
give_up_statements_after(settings.S3SYNC.statement_seconds)

# Import now, so that the first request does not wait for imports. Then exclude the loaded objects
# from garbage collection: they stay for good, and a scan of them would stop all requests for 50 ms.
import_module(settings.ROOT_URLCONF)
gc.collect()
gc.freeze()
