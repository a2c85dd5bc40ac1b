#!/usr/bin/env bash
# Runs every topology on Kafka Streams itself and writes what it does to goldens/. Needs Java 17 and Maven.
set -euo pipefail
cd "$(dirname "$0")"
mvn -q -B compile dependency:build-classpath -Dmdep.outputFile=target/classpath
java -cp "target/classes:$(cat target/classpath)" parity.Main goldens
