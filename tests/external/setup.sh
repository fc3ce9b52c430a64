# Sourced by the external suites, from the repository's root: gets what they run with.
#
# Sets PYTHON (of a virtual environment in target/external/, filled from PyPI) and PEERS (the
# folder of the programs in tests/external/peers). Nothing is installed outside target/, except
# Debian packages that are missing, and those only as root.

# debian_install <package>
debian_install() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "the Debian package $1 is missing, and only root can install it" >&2
        return 1
    fi
    # What is slow is the download, which leaves nothing half done.
    { timeout 300 apt-get update -qq && timeout 300 apt-get install -qq -y --download-only "$1" &&
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$1"; } </dev/null >/dev/null
}

# external_python [<name>]: with the packages in requirements.txt, or those in
# requirements-<name>.txt in an environment of their own.
external_python() {
    local venv=target/external/venv${1:+-$1} wanted=tests/external/requirements${1:+-$1}.txt
    PYTHON=$PWD/$venv/bin/python
    command -v python3 >/dev/null || debian_install python3 || return 1
    # An environment is for the Python that made it.
    if ! cmp -s <(python3 --version && cat "$wanted") "$venv/made-of"; then
        rm -rf "$venv"
        # Debian keeps what venv needs in a package of its own.
        if ! python3 -m venv "$venv" >/dev/null 2>&1; then
            debian_install python3-venv && python3 -m venv "$venv" || return 1
        fi
        "$PYTHON" -m pip install -q --disable-pip-version-check --retries 10 --timeout 60 -r "$wanted" \
            </dev/null || return 1
        { python3 --version && cat "$wanted"; } >"$venv/made-of"
    fi
    export PYTHON
}

external_peers() {
    local crate=tests/external/peers
    # The versions that the crate itself is tested with.
    [ -e "$crate/Cargo.lock" ] || cp Cargo.lock "$crate/Cargo.lock"
    # With other builds, most of whose dependencies it has.
    local target
    target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
    CARGO_TARGET_DIR=$target cargo build -q --manifest-path "$crate/Cargo.toml" </dev/null || return 1
    export PEERS=$target/debug
}

# external_web: Node.js with the packages in web/package.json, and what stands in web/, in the
# folder that WEB names. If they cannot be had, SKIPPED says why.
external_web() {
    local from=tests/external/web
    WEB=$PWD/target/external/web
    command -v npm >/dev/null || debian_install npm 2>/dev/null || true
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        SKIPPED="there is no Node.js with npm here"
        return 1
    fi
    # What Vite needs.
    if ! node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
        process.exit(major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19) ? 0 : 1)'; then
        SKIPPED="Node.js $(node --version) is too old; 20.19 or 22.12 will do"
        return 1
    fi
    mkdir -p "$WEB"
    if ! cmp -s "$from/package-lock.json" "$WEB/installed.json"; then
        cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$WEB/"
        if ! (cd "$WEB" && timeout 300 npm ci --silent --no-progress --ignore-scripts) </dev/null; then
            SKIPPED="npm cannot install the packages"
            return 1
        fi
        cp "$from/package-lock.json" "$WEB/installed.json"
    fi
    # Node.js looks for packages beside the program that asks for them.
    cp -R "$from/." "$WEB/"
    export WEB
}

# external_browser <variable> <package>: sets the variable to the path of Debian's browser. If it
# cannot be had, SKIPPED says why.
external_browser() {
    if ! command -v "$2" >/dev/null && ! debian_install "$2"; then
        SKIPPED="there is no $2 here"
        return 1
    fi
    export "$1=$(command -v "$2")"
}

# external_gateway: GATEWAY is the path of the gateway's program.
external_gateway() {
    cargo build --locked --quiet -p wsplice-gateway </dev/null || return 1
    export GATEWAY=${CARGO_TARGET_DIR:-$PWD/target}/debug/wsplice-gateway
}

# external_certificate <folder>: chain.pem and key.pem for localhost, for two days.
external_certificate() {
    command -v openssl >/dev/null || debian_install openssl || return 1
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -subj "/CN=localhost" -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" \
        -keyout "$1/key.pem" -out "$1/chain.pem" 2>/dev/null
}
