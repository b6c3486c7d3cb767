#!/bin/sh
# As in the image `openbao/openbao`: a subcommand or options mean bao; `server` reads /openbao/config.
set -e
if [ "${1#-}" != "$1" ]; then
    set -- bao "$@"
elif [ "$1" = server ]; then
    shift
    if [ -n "${BAO_LOCAL_CONFIG:-}" ]; then
        printf '%s' "$BAO_LOCAL_CONFIG" > /openbao/config/local.json
    fi
    set -- bao server -config=/openbao/config -dev-root-token-id="${BAO_DEV_ROOT_TOKEN_ID:-}" \
        -dev-listen-address="${BAO_DEV_LISTEN_ADDRESS:-0.0.0.0:8200}" "$@"
elif ! command -v "$1" > /dev/null; then
    set -- bao "$@"
fi
exec "$@"
