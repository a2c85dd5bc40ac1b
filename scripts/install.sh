# Sourced by start.sh and test.sh: installs what is missing, and says what it does. Quick when nothing is missing.

say() {
    if [ -t 2 ]; then printf '\033[1m%s\033[0m\n' "==> $*" >&2; else printf '%s\n' "==> $*" >&2; fi
}
die() { printf '%s\n' "error: $*" >&2; exit 1; }

# as_root COMMAND…: by sudo where this is not root.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "needs root or sudo to install packages; missing: $missing"
    fi
}

postgres_bin() {
    local found
    found=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
    if [ -n "$found" ] && [ -x "$found/initdb" ]; then echo "$found"
    elif command -v initdb >/dev/null && command -v postgres >/dev/null; then dirname "$(command -v initdb)"
    fi
}

# install_packages LIST: from the distribution.
install_packages() {
    missing=$1
    command -v apt-get >/dev/null || die "please install these, and start again:$missing (this script knows Debian and Ubuntu)"
    say "installing $missing"
    as_root apt-get update -q >&2 || say "apt-get update had an error; trying all the same"
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >&2
}

# install_for run|test
install_for() {
    [ -x "$HOME/.cargo/bin/cargo" ] && PATH=$HOME/.cargo/bin:$PATH
    command -v cargo >/dev/null || die "Rust is missing: install it with rustup (https://rustup.rs), 1.94 or newer"
    missing=''
    command -v cc >/dev/null && command -v make >/dev/null || missing="$missing build-essential"
    command -v pkg-config >/dev/null || missing="$missing pkg-config"
    # TLS to Kafka is the system's OpenSSL.
    pkg-config --exists openssl 2>/dev/null || missing="$missing libssl-dev"
    command -v curl >/dev/null || missing="$missing curl"
    [ -n "$(postgres_bin)" ] || missing="$missing postgresql"
    command -v psql >/dev/null || missing="$missing postgresql-client"
    if [ "$1" = test ]; then
        command -v kcat >/dev/null || missing="$missing kcat"
        command -v chromium >/dev/null || missing="$missing chromium"
        command -v chromedriver >/dev/null || missing="$missing chromium-driver"
        # Other people's clients of the schema registry.
        python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
        command -v node >/dev/null || missing="$missing nodejs"
        command -v npm >/dev/null || missing="$missing npm"
        command -v go >/dev/null || missing="$missing golang"
    fi
    [ -n "$missing" ] || return 0
    # The distribution's own cluster is not wanted: ours are private.
    as_root mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    install_packages "$missing"
}

build_release() {
    # Later on cargo itself says what it builds, if anything.
    [ -x target/release/concord ] && [ -x target/release/sandbox ] || say "building (the first time takes some minutes)"
    cargo build --release --locked -p concord -p sandbox --bins
}

# await_port HOST:PORT PID WHAT LOG
await_port() {
    local tries=0
    until (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; do
        kill -0 "$2" 2>/dev/null || die "$3 ended at once: $(tail -n 1 "$4") (all of it: $4)"
        tries=$((tries + 1))
        [ $tries -lt 300 ] || die "$3 does not listen on $1"
        sleep 0.1
    done
}

# must_be_free HOST:PORT SETTING: nobody may listen there yet, or we would take them for our own.
must_be_free() {
    if (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; then
        ! curl -sm 5 "http://$1/readyz" 2>/dev/null | grep -q '"components"' ||
            die "Concord runs on $1 already: stop it, or choose another address with $2 and another folder with CONCORD_DATA_DIR"
        die "something listens on $1 already: stop it, or choose another address with $2"
    fi
}

# await_ready HOST:PORT PID LOG: LOG is the file that it writes to, or nothing if that is the terminal.
await_ready() {
    local tries=0
    until curl -fsS -o /dev/null "http://$1/readyz" 2>/dev/null; do
        if ! kill -0 "$2" 2>/dev/null; then
            [ -z "$3" ] || cat "$3" >&2
            die "concord ended at once; what it printed is above"
        fi
        tries=$((tries + 1))
        [ $tries != 50 ] || say "concord is not ready yet: $(curl -s "http://$1/readyz")"
        [ $tries -lt 600 ] || die "concord is not ready after a minute: $(curl -s "http://$1/readyz")"
        sleep 0.1
    done
}

# A connection string without its password.
public_url() { printf '%s' "$1" | sed -E 's#(://[^:/@]+):[^@]*@#\1@#'; }
