"""The settings of the admin site as a whole."""

# These register the models that are unregistered below.
import django_otp.plugins.otp_totp.admin  # noqa: F401
import django_q.admin  # noqa: F401
from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_q.models import Failure, OrmQ, Schedule, Success

from replication.admin.cells import NOTHING

admin.site.site_header = "s3sync"
admin.site.site_title = "s3sync"
admin.site.index_title = _("Replication from S3 to OSS")
admin.site.site_url = None
admin.site.empty_value_display = NOTHING

# Rules, queues and the like are deleted one at a time, on their own pages.
admin.site.disable_action("delete_selected")

# django-q runs our loops, not the jobs: its lists would only mislead operators.
for _model in (Failure, OrmQ, Schedule, Success):
    admin.site.unregister(_model)

# Its pages show secrets; a user's second factor is reset in the list of users.
admin.site.unregister(TOTPDevice)
