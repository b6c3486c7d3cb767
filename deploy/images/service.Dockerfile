# Any Python service of the mesh. From the root of the repository:
#   docker build -f deploy/images/service.Dockerfile --build-arg SERVICE=router --build-arg VERSION=0.1.0 -t infermesh/router:0.1.0 .
# A base that stays the same: --build-arg BASE=python:3.11-slim-bookworm@sha256:...
# pip's settings and certificates of this machine, for the build only:
#   --secret id=pip,src=/etc/pip.conf --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
COPY deploy/images/steps/pip.sh deploy/images/steps/tools.sh deploy/images/requirements/build.lock requirements-sbom.lock /tools/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    sh /tools/tools.sh

# What the service needs of others. It changes seldom: a layer of its own.
FROM tools AS dependencies
ARG SERVICE
COPY deploy/images/steps/slim.py deploy/images/steps/dependencies.sh deploy/images/requirements/${SERVICE}.lock /tools/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    sh /tools/dependencies.sh /tools/${SERVICE}.lock

# What it needs of the workspace.
FROM tools AS packages
ARG SERVICE
COPY deploy/images/steps/slim.py deploy/images/steps/packages.sh deploy/images/steps/workspace.py /tools/
COPY libs /source/libs
COPY services/${SERVICE} /source/services/${SERVICE}
RUN sh /tools/packages.sh infermesh-${SERVICE}

FROM tools AS checked
ARG SERVICE
COPY deploy/images/steps/check.py deploy/images/steps/check.sh /tools/
COPY --from=dependencies /venv /venv
COPY --from=packages /packages /venv/lib/python3.11/site-packages
RUN sh /tools/check.sh && \
    printf '#!/bin/sh\nexec /venv/bin/python -m %s "$@"\n' "infermesh_$(echo ${SERVICE} | tr - _)" > /image/usr/local/bin/infermesh-service && \
    chmod 755 /image/usr/local/bin/infermesh-service

FROM ${BASE}
# The base's own pip has no place here.
RUN rm -rf /usr/local/lib/python3.11/*-packages/* /usr/local/lib/python3.11/ensurepip /usr/local/bin/pip* /usr/local/bin/wheel && \
    echo 'infermesh:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd && echo 'infermesh:x:65532:' >> /etc/group
COPY --from=dependencies /venv /venv
COPY --from=packages /packages /venv/lib/python3.11/site-packages
COPY --from=checked /image /
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /
# python -m infermesh_<service>, in the place of the shell: SIGTERM gets to it.
ENTRYPOINT ["infermesh-service"]
ARG SERVICE
ARG VERSION
ARG REVISION=unknown
LABEL org.opencontainers.image.title="infermesh-${SERVICE}" \
      org.opencontainers.image.description="Service ${SERVICE} of InferMesh" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="InferMesh"
