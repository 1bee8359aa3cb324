# One image per service and, for workers, per provider:
#
#   docker build --build-arg SERVICE=local-inference --build-arg EXTRAS=ollama -t flotilla/local-inference-ollama .
#
# `make images` builds all of them. What runs has no installer, no compiler and no dependency of another service, as
# user 10001, and writes nothing: start it with a read-only root filesystem.

# Where wheels for musl are missing there would be compilers: a glibc image. Its publisher could push the tag again:
# --build-arg PYTHON_IMAGE=docker.io/library/python@sha256:... (`docker buildx imagetools inspect TAG` says the digest).
ARG PYTHON_IMAGE=docker.io/library/python:3.13.9-slim-bookworm
# orchestrator | portal | local-inference | cloud-inference
ARG SERVICE

# --- what the lock file is about; sources change more often, and these layers stay ---------------------------------
FROM ${PYTHON_IMAGE} AS manifests
COPY pyproject.toml uv.lock /src/
COPY libs /src/libs
COPY services /src/services
RUN find /src/libs /src/services -type f ! -name pyproject.toml -delete \
 && find /src/libs /src/services -type d -empty -delete

# --- dependencies, then the service -----------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS build
COPY requirements-uv.txt /
RUN python -m venv /uv \
 && /uv/bin/pip install --no-cache-dir --disable-pip-version-check --quiet --require-hashes -r /requirements-uv.txt
ARG SERVICE
# Of the service's package, with commas between: ollama | openai for local, anthropic | openai for cloud inference.
ARG EXTRAS=""
ENV UV_PROJECT_ENVIRONMENT=/app \
    UV_PYTHON_DOWNLOADS=never \
    UV_PYTHON=python \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1
COPY --from=manifests /src /src
WORKDIR /src
RUN extras="$(printf '%s' "${EXTRAS}" | sed 's/[^,][^,]*/--extra &/g; s/,/ /g')" \
 && /uv/bin/uv sync --frozen --no-dev --no-editable --no-install-workspace --package "flotilla-${SERVICE}" ${extras}
COPY libs /src/libs
COPY services /src/services
RUN extras="$(printf '%s' "${EXTRAS}" | sed 's/[^,][^,]*/--extra &/g; s/,/ /g')" \
 && /uv/bin/uv sync --frozen --no-dev --no-editable --package "flotilla-${SERVICE}" ${extras}

# --- what runs --------------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS runtime
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip setuptools wheel
COPY --from=build /app /app
ENV PATH=/app/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FLOTILLA_HTTP_PORT=8080
WORKDIR /app
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['FLOTILLA_HTTP_PORT']), timeout=3); c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]
ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="flotilla-${SERVICE}" \
      org.opencontainers.image.description="Flotilla: hybrid LLM orchestration as a fleet of small services on NATS" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The service is process 1, without a shell before it: SIGTERM reaches it.
FROM runtime AS orchestrator
ENTRYPOINT ["python", "-m", "orchestrator"]

FROM runtime AS portal
EXPOSE 8642
ENTRYPOINT ["python", "-m", "portal"]

FROM runtime AS local-inference
ENTRYPOINT ["python", "-m", "local_inference"]

FROM runtime AS cloud-inference
ENTRYPOINT ["python", "-m", "cloud_inference"]

FROM ${SERVICE}
