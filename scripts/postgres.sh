# Sourced by start.sh: a private Postgres cluster. The server refuses to run as root, so root lends it another user.

postgres_as() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && exec setpriv --reuid="$postgres_user" --regid="$postgres_group" --clear-groups env HOME=/ "$@" 9>&-)
    else
        "$@" 9>&-
    fi
}

# start_postgres DATA_DIR: sets POSTGRES_URL.
start_postgres() {
    local bin base=$1/postgres
    bin=$(postgres_bin)
    postgres_user=$(id -un) postgres_group=$(id -gn)
    if [ "$(id -u)" = 0 ]; then
        postgres_user=postgres
        id postgres >/dev/null 2>&1 || postgres_user=nobody
        postgres_group=$(id -gn "$postgres_user")
        # A home folder that only root may enter is no place for it.
        base=/var/lib/concord-$(printf '%s' "$1" | cksum | cut -d' ' -f1)
    fi
    mkdir -p "$base"
    [ "$(id -u)" != 0 ] || chown "$postgres_user:$postgres_group" "$base"
    chmod 700 "$base"
    postgres_data=$base/data
    postgres_ctl=$bin/pg_ctl
    if [ ! -s "$postgres_data/PG_VERSION" ]; then
        say "making a private Postgres cluster in $postgres_data"
        postgres_as "$bin/initdb" -D "$postgres_data" -U concord --auth=trust --encoding=UTF8 --no-locale >/dev/null
    fi
    if postgres_as "$postgres_ctl" -D "$postgres_data" status >/dev/null 2>&1; then
        # Ours is the lock on the data folder, so nobody uses it.
        say "stopping the private Postgres cluster that a killed ./start.sh left running"
        stop_postgres
    fi
    local port
    port=${CONCORD_POSTGRES_PORT:-$(free_port)}
    postgres_as "$postgres_ctl" -D "$postgres_data" -w -t 60 -l "$base/postgres.log" \
        -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$base" start >/dev/null ||
        die "Postgres did not start; its log is $base/postgres.log"
    postgres_as "$bin/psql" -h 127.0.0.1 -p "$port" -U concord -d postgres -Atqc "select 1 from pg_database where datname = 'concord'" | grep -q 1 ||
        postgres_as "$bin/createdb" -h 127.0.0.1 -p "$port" -U concord concord
    # The user's own name is that of a schema: without this, "customers" alone would mean concord.customers.
    postgres_as "$bin/psql" -h 127.0.0.1 -p "$port" -U concord -d concord -qc 'alter database concord set search_path = public'
    POSTGRES_URL=postgres://concord@127.0.0.1:$port/concord
}

stop_postgres() { postgres_as "$postgres_ctl" -D "$postgres_data" -m fast -w -t 10 stop >/dev/null 2>&1 || :; }

# The port asked for before, so that a psql command keeps working, or else the next free one.
free_port() {
    local port
    for port in $(seq 5442 5541); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
    die "no free port for Postgres between 5442 and 5541"
}
