#!/usr/bin/env bash
# Sourced by test.sh, or run by itself: the jars of an Apache Kafka broker, for the tests to start, in target/kafka-libs.
# Installs a JDK and Maven where they are missing. Quick when everything is there.

# install_kafka, in the project's folder.
install_kafka() {
    local libs=target/kafka-libs missing='' wanted
    wanted=$(cksum <tests/kafka/pom.xml)
    command -v java >/dev/null || missing="$missing default-jdk-headless"
    [ -z "$missing" ] || install_packages "$missing"
    [ "$(cat "$libs/complete" 2>/dev/null)" != "$wanted" ] || return 0
    command -v mvn >/dev/null || install_packages maven
    say "fetching Apache Kafka"
    rm -rf "$libs"
    mvn -q -B -f tests/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$PWD/$libs" ||
        die "the jars of Apache Kafka could not be fetched"
    printf '%s\n' "$wanted" >"$libs/complete"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    cd "$(dirname "$0")/.."
    . ./scripts/install.sh
    install_kafka
fi
