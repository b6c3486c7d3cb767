# The simulator of providers, see tools/simulator. For tests only. Providers on port 8080, control on 8081.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
COPY deploy/images/steps/pip.sh deploy/images/steps/slim.py deploy/images/steps/dependencies.sh deploy/images/requirements/simulator.lock /tools/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    python -m venv /tools/build && \
    sh /tools/dependencies.sh /tools/simulator.lock

FROM ${BASE}
COPY --from=tools /venv /venv
COPY tools/simulator /opt/infermesh/tools/simulator
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/opt/infermesh
USER 65532:65532
WORKDIR /opt/infermesh
EXPOSE 8080 8081
ENTRYPOINT ["python", "-m", "tools.simulator", "--host=0.0.0.0", "--port=8080", "--control-port=8081"]
