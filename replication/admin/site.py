"""What concerns the admin as a whole."""

import django_q.admin  # noqa: F401 - registers what is taken away below
from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from django_q import admin as django_q_admin  # noqa: F401 - registers what goes below
from django_q.models import Failure, OrmQ, Schedule, Success

from replication.admin.cells import NOTHING

admin.site.site_header = "s3sync"
admin.site.site_title = "s3sync"
admin.site.index_title = _("Replication from S3 to OSS")
admin.site.site_url = None
admin.site.empty_value_display = NOTHING

# A rule or a queue is removed one at a time, after a look at it.
admin.site.disable_action("delete_selected")

# django-q carries our loops, not the jobs: its lists would only mislead.
for _model in (Failure, OrmQ, Schedule, Success):
    admin.site.unregister(_model)
