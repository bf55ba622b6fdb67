"""The WSGI application that gunicorn serves."""

import gc
import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "s3sync.settings")
application = get_wsgi_application()

# The first request waits for no import; and what is loaded by now stays for good, so that the
# collector need not look through it: 50 ms, in which no other request would be answered.
import_module(settings.ROOT_URLCONF)
gc.collect()
gc.freeze()
