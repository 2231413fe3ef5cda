#!/bin/bash
set -e
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --auth=trust --no-sync >/dev/null
    pg_ctl --wait --silent -o "-c listen_addresses=''" start >/dev/null
    for file in /docker-entrypoint-initdb.d/*.sql; do psql --quiet --file "$file" postgres; done
    pg_ctl --wait --silent stop >/dev/null
fi
exec "$@"
