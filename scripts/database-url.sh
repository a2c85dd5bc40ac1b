#!/usr/bin/env bash
# Prints the address of the database that the running ./start.sh uses.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${CONCORD_DATA_DIR:-.concord}/database-url
[ -s "$file" ] || { echo "no ./start.sh runs here with a private Postgres cluster (no $file)" >&2; exit 1; }
cat "$file"
