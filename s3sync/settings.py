"""Django settings. Settings that differ between installations are in environment.py."""

import warnings
from datetime import timedelta
from pathlib import Path

from s3sync.environment import django_database, read_environment
from s3sync.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent

# All settings of s3sync itself, e.g. settings.S3SYNC.lane_concurrency.
S3SYNC = read_environment()

SECRET_KEY = S3SYNC.secret_key.get_secret_value()
SECRET_KEY_FALLBACKS = S3SYNC.secret_key_fallbacks
DEBUG = False
ALLOWED_HOSTS = S3SYNC.allowed_hosts
CSRF_TRUSTED_ORIGINS = S3SYNC.csrf_trusted_origins

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "replication",  # before django_q, whose qcluster command it replaces
    "django_q",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
]

MIDDLEWARE = [
    "s3sync.proxies.ProxyMiddleware",  # first: all others see the client's address
    "s3sync.middleware.ProbeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "s3sync.middleware.ContentSecurityPolicyMiddleware",
    "s3sync.middleware.NoNulMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "s3sync.second_factor.RequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",  # last: it answers logins that are locked out
]

ROOT_URLCONF = "s3sync.urls"
WSGI_APPLICATION = "s3sync.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": django_database(S3SYNC.database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# docs/guides/access.md describes the password rules.
_VALIDATORS: dict[str, dict[str, int]] = {
    "UserAttributeSimilarityValidator": {},
    "MinimumLengthValidator": {"min_length": 12},
    "CommonPasswordValidator": {},
    "NumericPasswordValidator": {},
}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in _VALIDATORS.items()
]
LOGIN_URL = "admin:login"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",  # first: it refuses users who are locked out
    "django.contrib.auth.backends.ModelBackend",
]
if S3SYNC.oidc_issuer:  # without it, sessions of single sign-on end
    AUTHENTICATION_BACKENDS.append("s3sync.sso.backend.ProviderBackend")
# django-axes records failures, and counts those of a name at an address; s3sync/logins.py has the
# other limits.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "s3sync.logins.counted_address"
AXES_LOCKOUT_CALLABLE = "s3sync.logins.locked_out"
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_TEMPLATE = "admin/locked_out.html"
AXES_ENABLE_ADMIN = False
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False

# Wrong codes are limited as wrong passwords are; django-otp's own limit refuses right codes.
OTP_TOTP_THROTTLE_FACTOR = 0
OTP_TOTP_ISSUER = "s3sync"

LANGUAGE_CODE = "en"
# Chinese returns with a complete catalogue: without one, only Django's own texts are Chinese.
LANGUAGES = [("en", "English")]
TIME_ZONE = S3SYNC.time_zone
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Serve the collected files if `collectstatic` has run (as in the image), else the sources.
WHITENOISE_USE_FINDERS = not STATIC_ROOT.exists()
if WHITENOISE_USE_FINDERS:
    warnings.filterwarnings("ignore", message="No directory at", category=UserWarning)

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
if S3SYNC.https_only:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    # Browsers accept the __Host- prefix only over TLS, and for this host alone.
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"

# After this time django-q kills the worker of a timer's task. Loops have no such limit: a single
# PUT of 5 GB may take longer.
TASK_TIMEOUT_SECONDS = 3600

# django-q2 runs the loops; it is not the job queue: see docs/decisions/lanes-and-jobs.md.
# replication/checks.py checks the values that must not change.
Q_CLUSTER = {
    "name": "s3sync",
    "orm": "default",
    "broker_class": "replication.cluster.broker.PatientBroker",
    # One each to poll, prune, notify and sweep; two for renewals, as a loop overlaps its successor.
    "workers": S3SYNC.lanes + 6,
    "scheduler": False,  # timers are in replication/cluster/timers.py
    "poll": 0,  # the broker itself waits for tasks
    # No other host can take tasks that wait in one cluster's memory.
    "queue_limit": 1,
    "bulk": 1,
    "max_attempts": 1,
    "ack_failures": True,
    "timeout": TASK_TIMEOUT_SECONDS,
    "retry": TASK_TIMEOUT_SECONDS + 60,
    "save_limit": -1,  # rows of successful tasks add nothing to TransferJob
    "recycle": 100,
    "label": "Cluster tasks",
}

LOGGING_CONFIG = None
logging_config(level=S3SYNC.log_level)
