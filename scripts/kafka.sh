#!/usr/bin/env bash
# Sourced by test.sh and start.sh, or run by itself: the jars of an Apache Kafka broker, for the tests to start, in target/kafka-libs.
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

# start_broker FOLDER ADDRESS:PORT: a broker (and its controller, at the next port) that keeps its data in FOLDER; BROKER_PID.
start_broker() {
    local folder=$1 listen=$2 host=${2%:*} port=${2##*:} settings=$1/server.properties
    local controller="$host:$((port + 1))"
    mkdir -p "$folder"
    cat >"$settings" <<TXT
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://$listen,CONTROLLER://$controller
advertised.listeners=PLAINTEXT://$listen
controller.listener.names=CONTROLLER
controller.quorum.voters=1@$controller
log.dirs=$folder/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
TXT
    # It does nothing where that was done.
    java -cp "target/kafka-libs/*" kafka.tools.StorageTool format --ignore-formatted --cluster-id=4L6g3nShT-eMCtK--X86sw -c "$settings" \
        >"$folder/format.log" 2>&1 || die "the broker's folder could not be prepared: see $folder/format.log"
    java -Xms256m -Xmx512m -XX:+UseSerialGC -Dorg.apache.logging.log4j.level=WARN -cp "target/kafka-libs/*" kafka.Kafka "$settings" \
        >"$folder/broker.log" 2>&1 </dev/null &
    BROKER_PID=$!
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    cd "$(dirname "$0")/.."
    . ./scripts/install.sh
    install_kafka
fi
