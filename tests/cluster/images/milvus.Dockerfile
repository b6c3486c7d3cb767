# Milvus Lite's server, which a Python package carries, under the name of the image `milvusdb/milvus`, for clusters that cannot pull that
# one. For tests only.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY deploy/images/steps/pip.sh deploy/images/requirements/milvus.lock /tools/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    python -m venv /tools/build && \
    python -m venv --without-pip /opt/milvus && \
    sh /tools/pip.sh /opt/milvus/bin/python -r /tools/milvus.lock && \
    /opt/milvus/bin/python -m milvus_lite --help > /dev/null

FROM ${BASE}
COPY --from=tools /opt/milvus /opt/milvus
COPY tests/cluster/images/milvus_entrypoint.py /opt/milvus/entrypoint.py
ENV PYTHONDONTWRITEBYTECODE=1
VOLUME /var/lib/milvus
EXPOSE 19530 9091
USER 65532:65532
ENTRYPOINT ["/opt/milvus/bin/python", "/opt/milvus/entrypoint.py"]
CMD ["milvus", "run", "standalone"]
