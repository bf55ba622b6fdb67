# One image for all processes: web (the default), qcluster, pollsqs and migrate.
#   docker run … s3sync                          the web server on port 8000
#   docker run … s3sync ./manage.py qcluster     lanes and pollers
#   docker run … s3sync ./manage.py migrate

# A release has the base's digest here: `make release-check` says how to find it, and refuses a tag alone.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Nothing is built here: only wheels are installed, each with a known hash. The environment gets no pip.
RUN python -m venv --without-pip /venv
# With --build-arg REQUIREMENTS=requirements/alibaba.txt, OSS's credentials may be those of roles.
ARG REQUIREMENTS=requirements.txt
COPY requirements.txt .
COPY requirements/alibaba.txt requirements/
COPY requirements/wheels requirements/wheels
RUN pip --python /venv/bin/python install --require-hashes --only-binary :all: \
    --find-links requirements/wheels -r "$REQUIREMENTS"

FROM ${BASE}
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin s3sync
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY --from=build /venv /venv
COPY manage.py ./
COPY s3sync s3sync
COPY replication replication
COPY templates templates
COPY security/sbom.cdx.json sbom.cdx.json
# These values only let the settings load: nothing connects to them, and the image does not keep them.
RUN DATABASE_URL=postgresql://nobody@localhost/none S3SYNC_SECRET_KEY=only-to-load-the-settings-nothing-more \
    ./manage.py collectstatic --noinput --verbosity 0
USER s3sync
EXPOSE 8000
# A cluster exits within 35 s of SIGTERM: allow 40 s.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["./manage.py", "web", "--bind", "0.0.0.0:8000"]
