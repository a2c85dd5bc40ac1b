#!/usr/bin/env bash
# Every test, from nothing: installs what is missing, then formatting, lints, unit and property tests, the simulation,
# the engine on a real Apache Kafka, and the end-to-end tests against a real Postgres, a real browser and the sandbox Stripe. Services are started on free
# ports in folders of their own, and always stopped.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
    cat <<'TXT'
Usage: ./test.sh [--help] [--quick]

  --quick    no end-to-end tests, no Kafka, fewer seeds of the simulation
Longer runs: cargo run --release -p simulation -- --seeds 50000
             cargo test -p streams --test kafka_reliability -- --minutes 20
TXT
}

quick=no
for arg in "$@"; do
    case $arg in
        -h | --help) usage; exit 0 ;;
        --quick) quick=yes ;;
        *) echo "test.sh: unknown option $arg (see ./test.sh --help)" >&2; exit 2 ;;
    esac
done

. ./scripts/install.sh
install_for test
if [ "$quick" = no ]; then
    . ./scripts/kafka.sh
    install_kafka
fi
export CARGO_TERM_PROGRESS_WHEN=never
# A build from nothing is quicker without.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}

say "formatting and lints"
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -q -- -D warnings
if [ "$quick" = yes ]; then
    say "tests, the quick ones"
    CONCORD_SEEDS=200 cargo test --workspace --locked -q -- --skip end_to_end --skip on_kafka
else
    say "tests"
    cargo test --workspace --locked
fi
say "schemas: they may follow every released version, and be followed by it"
"${CARGO_TARGET_DIR:-target}/debug/concord" schemas check schemas --against tests/released-schemas --level FULL_TRANSITIVE
say "all tests passed"
