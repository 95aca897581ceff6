#!/usr/bin/env bash
# Installs what the tests' servers need and this machine lacks. Needs Debian or
# Ubuntu, and root or sudo; elsewhere install the programs by hand.
set -euo pipefail

missing=()
command -v redis-server >/dev/null || [ -n "${TEST_REDIS_ADDR:-}" ] || missing+=(redis-server)
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || [ -n "${TEST_POSTGRES_DSN:-}" ] || missing+=(postgresql)
[ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || missing+=(pgbouncer)
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "the tests need ${missing[*]}: install them, or name running servers (docs/testing.md)" >&2
	exit 1
fi
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}"
