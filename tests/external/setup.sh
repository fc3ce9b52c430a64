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
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$1"; } \
        </dev/null >/dev/null
}

# external_python [<name>]: with the packages in requirements.txt, or those in
# requirements-<name>.txt in an environment of their own.
external_python() {
    local venv=target/external/venv${1:+-$1} wanted=tests/external/requirements${1:+-$1}.txt
    PYTHON=$PWD/$venv/bin/python
    if ! cmp -s "$wanted" "$venv/requirements.txt"; then
        command -v python3 >/dev/null || debian_install python3 || return 1
        rm -rf "$venv"
        # Debian keeps what venv needs in a package of its own.
        if ! python3 -m venv "$venv" >/dev/null 2>&1; then
            debian_install python3-venv && python3 -m venv "$venv" || return 1
        fi
        "$PYTHON" -m pip install -q --disable-pip-version-check -r "$wanted" </dev/null || return 1
        cp "$wanted" "$venv/requirements.txt"
    fi
    export PYTHON
}

external_peers() {
    local crate=tests/external/peers
    # The versions that the crate itself is tested with.
    [ -e "$crate/Cargo.lock" ] || cp Cargo.lock "$crate/Cargo.lock"
    CARGO_TARGET_DIR=target/external/peers cargo build -q --manifest-path "$crate/Cargo.toml" </dev/null || return 1
    export PEERS=$PWD/target/external/peers/debug
}
