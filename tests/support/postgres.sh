#!/bin/sh
# Runs a PostgreSQL of its own in the new folder $1, with a socket there and no port, until standard input ends: with
# the process that started it, however that ends. Then nothing of it is left. Says "ready" when it is.
set -eu
dir=$1
command -v initdb >/dev/null || PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
mkdir -m 700 "$dir"
umask 077
echo postgres >"$dir/password"
as=
# It refuses to run as root.
if [ "$(id -u)" = 0 ]; then
    chown -R postgres "$dir"
    as="setpriv --reuid=postgres --regid=postgres --clear-groups"
fi
cd "$dir"
trap '$as pg_ctl -D data -m immediate stop >/dev/null 2>&1 || true; cd /; rm -rf "$dir"' EXIT
if ! $as initdb -D data -U postgres -E UTF8 --locale=C.UTF-8 -A scram-sha-256 --pwfile=password --no-sync >log 2>&1 ||
    ! $as pg_ctl -D data -l server.log -w -o "-k $dir -c listen_addresses= -c max_connections=400" start >>log 2>&1; then
    cat log server.log
    exit 1
fi
echo ready
cat >/dev/null
