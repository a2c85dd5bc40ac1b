#!/usr/bin/env bash
# Prints the address of the database that the running ./start.sh uses.
set -euo pipefail
cd "$(dirname "$0")/.."
folders=(.concord .concord-kafka)
[ -z "${CONCORD_DATA_DIR:-}" ] || folders=("$CONCORD_DATA_DIR")
for folder in "${folders[@]}"; do
    [ ! -s "$folder/database-url" ] || { cat "$folder/database-url"; exit; }
done
echo "no ./start.sh runs here with a private Postgres cluster (no database-url in ${folders[*]})" >&2
exit 1
