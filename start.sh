#!/usr/bin/env bash
# Runs Concord on this machine: installs what is missing, builds it, starts a private Postgres cluster (unless
# DATABASE_URL is set), a stand-in Stripe (unless STRIPE_API_KEY is set), and Concord in front of them.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
    cat <<'TXT'
Usage: ./start.sh [--help] [--kafka] [--no-run]

Installs what is missing (a C compiler, PostgreSQL), builds, and runs everything on this machine until Ctrl-C:
  Concord            http://127.0.0.1:8000/   customers, side by side in every system
  sandbox Stripe     http://127.0.0.1:8010/   a stand-in for people without an account (not with STRIPE_API_KEY)
  Postgres           a private cluster (not with DATABASE_URL)

  --kafka    the log is on Apache Kafka: a broker of its own at 127.0.0.1:9092 (installing a JDK and Maven where they
             are missing), or the one that KAFKA_BOOTSTRAP_SERVERS names; the data folder is then ./.concord-kafka
  --no-run   install and build only

Environment (all optional): DATABASE_URL, STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET, STRIPE_API_BASE, CONCORD_LISTEN,
CONCORD_API_TOKEN, CONCORD_REGISTRY_LISTEN (127.0.0.1:8081, or off), CONCORD_DATA_DIR (./.concord), CONCORD_CONFIG (concord.toml),
CONCORD_SANDBOX_LISTEN (127.0.0.1:8010); with --kafka KAFKA_BOOTSTRAP_SERVERS, CONCORD_KAFKA_LISTEN (127.0.0.1:9092).
Every secret also as NAME_FILE. State is kept in CONCORD_DATA_DIR: start again and it goes on. Concord's log goes to the
terminal, or, where there is none, to concord.log in that folder; CONCORD_LOG says how much of it.
TXT
}

run=yes kafka=no
for arg in "$@"; do
    case $arg in
        -h | --help) usage; exit 0 ;;
        --no-run) run=no ;;
        --kafka) kafka=yes ;;
        *) echo "start.sh: unknown option $arg (see ./start.sh --help)" >&2; exit 2 ;;
    esac
done

. ./scripts/install.sh
for setting in DATABASE_URL STRIPE_API_KEY STRIPE_WEBHOOK_SECRET STRIPE_API_BASE CONCORD_API_TOKEN CONCORD_REGISTRY_LISTEN; do
    [ -n "${!setting-unset}" ] || die "$setting is set to nothing: give it a value, or unset it"
done
install_for run
if [ "$kafka" = yes ] && [ -z "${KAFKA_BOOTSTRAP_SERVERS:-}" ]; then
    . ./scripts/kafka.sh
    install_kafka
fi
build_release

[ "$run" = yes ] || { say "built: target/release/concord"; exit 0; }

[ "$kafka" = yes ] && folder=.concord-kafka || folder=.concord
export CONCORD_DATA_DIR=${CONCORD_DATA_DIR:-$PWD/$folder}
kafka_listen=${CONCORD_KAFKA_LISTEN:-127.0.0.1:9092}
listen=${CONCORD_LISTEN:-127.0.0.1:8000}
sandbox_listen=${CONCORD_SANDBOX_LISTEN:-127.0.0.1:8010}
registry=${CONCORD_REGISTRY_LISTEN:-127.0.0.1:8081}
registry=${registry/#0.0.0.0:/127.0.0.1:}
[ -z "${SCHEMA_REGISTRY_URL:-}" ] || registry=off
# Where it answers on this machine.
here=${listen/#0.0.0.0:/127.0.0.1:}
mkdir -p "$CONCORD_DATA_DIR"
chmod 700 "$CONCORD_DATA_DIR"
concord_pid='' sandbox_pid='' kafka_pid='' postgres_ours=no

# What is started below does not inherit it (9>&-): it is free as soon as this script is gone.
exec 9>"$CONCORD_DATA_DIR/start.lock"
flock -n 9 || die "another ./start.sh runs with the data folder $CONCORD_DATA_DIR: stop it, or choose another with CONCORD_DATA_DIR"

stop() {
    trap '' INT TERM
    if [ -n "$concord_pid" ]; then
        kill -TERM "$concord_pid" 2>/dev/null || :
        wait "$concord_pid" 2>/dev/null || :
    fi
    if [ -n "$sandbox_pid" ]; then
        kill -TERM "$sandbox_pid" 2>/dev/null || :
        wait "$sandbox_pid" 2>/dev/null || :
    fi
    if [ -n "$kafka_pid" ]; then
        kill -TERM "$kafka_pid" 2>/dev/null || :
        wait "$kafka_pid" 2>/dev/null || :
    fi
    rm -f "$CONCORD_DATA_DIR/env"
    if [ "$postgres_ours" = yes ]; then
        rm -f "$CONCORD_DATA_DIR/database-url"
        stop_postgres
    fi
}
trap 'stop; exit 143' TERM
trap 'stop; exit 130' INT
trap stop EXIT

# What this script sets, for commands beside it. Not what it was given, which may be secret, but for the name of the configuration.
made() {
    export "$1=$2"
    printf 'export %s=%q\n' "$1" "$2" >>"$CONCORD_DATA_DIR/env"
}
: >"$CONCORD_DATA_DIR/env"
made CONCORD_DATA_DIR "$CONCORD_DATA_DIR"
case ${CONCORD_CONFIG:-} in
    '') ;;
    /*) made CONCORD_CONFIG "$CONCORD_CONFIG" ;;
    *) made CONCORD_CONFIG "$PWD/$CONCORD_CONFIG" ;;
esac

must_be_free "$here" CONCORD_LISTEN
[ "$registry" = off ] || must_be_free "$registry" CONCORD_REGISTRY_LISTEN
[ -n "${STRIPE_API_KEY:-}${STRIPE_API_KEY_FILE:-}" ] || must_be_free "$sandbox_listen" CONCORD_SANDBOX_LISTEN

if [ -z "${DATABASE_URL:-}${DATABASE_URL_FILE:-}" ]; then
    . ./scripts/postgres.sh
    start_postgres "$CONCORD_DATA_DIR"
    postgres_ours=yes
    made DATABASE_URL "$POSTGRES_URL"
    printf '%s\n' "$POSTGRES_URL" >"$CONCORD_DATA_DIR/database-url"
fi

if [ -z "${STRIPE_API_KEY:-}${STRIPE_API_KEY_FILE:-}" ]; then
    # Keys of the stand-in on this machine alone; they open nothing anywhere else.
    made STRIPE_API_KEY sk_test_sandbox
    made STRIPE_WEBHOOK_SECRET whsec_sandbox
    made STRIPE_API_BASE "http://$sandbox_listen"
    target/release/sandbox stripe --listen "$sandbox_listen" --state "$CONCORD_DATA_DIR/sandbox.json" \
        --key "$STRIPE_API_KEY" --rate-limit 100 --webhook-secret "$STRIPE_WEBHOOK_SECRET" \
        --webhook-url "http://$here/api/v1/myproduct/stripewebhook/" >>"$CONCORD_DATA_DIR/sandbox.log" 2>&1 9>&- &
    sandbox_pid=$!
    await_port "$sandbox_listen" "$sandbox_pid" "the sandbox Stripe" "$CONCORD_DATA_DIR/sandbox.log"
fi

if [ "$kafka" = yes ] && [ -z "${KAFKA_BOOTSTRAP_SERVERS:-}" ]; then
    must_be_free "$kafka_listen" CONCORD_KAFKA_LISTEN
    say "starting a Kafka broker"
    start_broker "$CONCORD_DATA_DIR/kafka" "$kafka_listen" 9>&-
    kafka_pid=$BROKER_PID
    await_port "$kafka_listen" "$kafka_pid" "the Kafka broker" "$CONCORD_DATA_DIR/kafka/broker.log"
    made KAFKA_BOOTSTRAP_SERVERS "$kafka_listen"
fi

# Its log is for the terminal; without one, lines of JSON would stand between those that people read.
concord_log=''
if [ -t 2 ]; then
    target/release/concord run 9>&- &
else
    concord_log=$CONCORD_DATA_DIR/concord.log
    target/release/concord run 2>"$concord_log" 9>&- &
fi
concord_pid=$!
await_ready "$here" "$concord_pid" "$concord_log"

bearer=''
[ -z "${CONCORD_API_TOKEN:-}${CONCORD_API_TOKEN_FILE:-}" ] || bearer=' -H "authorization: Bearer $CONCORD_API_TOKEN"'

{
    echo
    echo "Concord is running."
    echo "  customers side by side   http://$here/"
    [ -z "$sandbox_pid" ] || echo "  \"in Stripe\"              http://$sandbox_listen/"
    [ "$registry" = off ] || echo "  schema registry          http://$registry/"
    # Not where its address is in a file: that is a secret.
    [ -z "${DATABASE_URL:-}" ] || echo "  SQL                      psql '$(public_url "$DATABASE_URL")'"
    [ "$kafka" = no ] || echo "  Kafka                    $KAFKA_BOOTSTRAP_SERVERS"
    [ -z "$concord_log" ] || echo "  log                      $concord_log"
    cat <<TXT
Try:
  curl -s -X POST http://$here/api/v1/myproduct/customers/ -H 'content-type: application/json'$bearer \\
       -d '{"name":"Ada Lovelace","email":"ada@example.com"}'
  target/release/concord customers list
The settings of this run, for commands in another terminal (concord lag, consume, validate, deploy):
  . $CONCORD_DATA_DIR/env
Ctrl-C stops everything.
TXT
} >&2

while :; do
    ended=''
    # shellcheck disable=SC2086 # those that were not started are no words
    wait -n -p ended $concord_pid $sandbox_pid $kafka_pid && status=0 || status=$?
    case $ended in
        '') exit "$status" ;;
        "$concord_pid") concord_pid=''; exit "$status" ;;
        "$kafka_pid") kafka_pid='' what="the Kafka broker" its_log=$CONCORD_DATA_DIR/kafka/broker.log ;;
        *) sandbox_pid='' what="the sandbox Stripe" its_log=$CONCORD_DATA_DIR/sandbox.log ;;
    esac
    say "$what ended with status $status (see $its_log); Concord waits for it: stop with Ctrl-C, and start again"
done
