#!/usr/bin/env bash
# Lets Avro's own Java library judge every case of cases.json, and writes what it says to goldens/java.json. Needs Java 17 and Maven.
#   recapture.sh CASES GOLDEN   judges another file of cases (the one that a long run of the random pairs writes, say)
set -euo pipefail
cases=$(realpath "${1:-$(dirname "$0")/cases.json}")
golden=$(realpath -m "${2:-$(dirname "$0")/goldens/java.json}")
cd "$(dirname "$0")"
mvn -q -B compile dependency:build-classpath -Dmdep.outputFile=target/classpath
java -cp "target/classes:$(cat target/classpath)" compat.Main "$cases" "$golden"
