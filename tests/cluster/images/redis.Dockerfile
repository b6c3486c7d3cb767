# Debian's Redis with the names, the user and the habits of the image `redis`, for clusters that cannot pull that one. For tests only.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
# The user first: the package takes the one that is there. 999 is that of the image `redis`.
RUN echo 'redis:x:999:999::/data:/usr/sbin/nologin' >> /etc/passwd && echo 'redis:x:999:' >> /etc/group && \
    apt-get update -qq && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server > /dev/null && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /etc/redis /var/lib/redis /var/log/* && \
    mkdir /data && chown 999:999 /data
COPY tests/cluster/images/redis-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
RUN chmod 755 /usr/local/bin/docker-entrypoint.sh
VOLUME /data
WORKDIR /data
ENTRYPOINT ["docker-entrypoint.sh"]
EXPOSE 6379
CMD ["redis-server"]
