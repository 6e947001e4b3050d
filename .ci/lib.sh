# Functions that the scripts of this repository share. Source it in bash, after setting options.
# shellcheck shell=bash

# No command reads a terminal.
exec </dev/null

# Git refuses a folder that belongs to somebody else, such as one that is mounted into a container.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$PWD

# Folders to remove when the script ends.
scratch=()
# The exit code and the process group of the last command that `run` has finished. The group of one
# that is still running is $!.
status=0
ended=

clean_up() {
    # A second Ctrl-C must not cut this short.
    trap '' HUP INT TERM
    [[ ${!:-} == "$ended" ]] || end_group "$!"
    ((${#scratch[@]} == 0)) || rm -rf --one-file-system "${scratch[@]}"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

heading() {
    printf '\n== %4d s  %s\n' "$SECONDS" "$*"
}

fail() {
    heading "FAILED: $*" >&2
    exit 1
}

# Ends a process group. SIGTERM comes first, because a script in it has groups of its own to end.
end_group() {
    local tries
    kill -TERM -- "-$1" 2>/dev/null || true
    for ((tries = 0; tries < 50; tries++)); do
        kill -0 -- "-$1" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$1" 2>/dev/null || true
    # Without this, the shell would print how it ended.
    wait "$1" 2>/dev/null || true
}

# Runs a command in a process group of its own, so that nothing it starts outlives it. Sets `status`
# to its exit code: inside `if` or before `||`, a function would continue after errors.
run() {
    status=0
    set -m
    "$@" &
    set +m
    wait "$!" || status=$?
    end_group "$!"
    ended=$!
}

# Runs a command, and ends the script unless it succeeds.
step() {
    heading "$*"
    run "$@"
    ((status == 0)) || fail "$* (exit code $status)"
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    else
        # Never ask for a password: no one may be there to type it.
        sudo -n "$@"
    fi
}

# Makes a new folder, which is removed when the script ends. Takes the beginning of its path; sets
# `folder` to the path.
make_scratch() {
    folder=$(mktemp -d "$1.XXXXXX")
    scratch+=("$folder")
}

need_cargo() {
    PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
    command -v cargo >/dev/null || fail 'no cargo: install Rust with rustup, https://rustup.rs'
}

# Installs a program with Cargo into target/tools, unless this version is there, and puts it into
# the PATH. Takes its package, the version, and more arguments for `cargo install`, such as --debug,
# which takes the least time to build.
need_cargo_tool() {
    local package=$1 version=$2 tools
    shift 2
    need_cargo
    tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools")
    [[ :$PATH: == *":$tools/bin:"* ]] || PATH="$tools/bin:$PATH"
    # Cargo asks nobody for a version that is there. No one debugs it.
    CARGO_PROFILE_DEV_DEBUG=0 step cargo install "$package" --version "=$version" --locked "$@" \
        --root "$tools" --target-dir "$tools/target"
    rm -rf "$tools/target"
}

# Prints the packages of the programs that are missing. Takes PROGRAM:PACKAGE.
packages_of_missing() {
    local pair
    for pair; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
    done
}

# Prints those of these packages that are not installed.
not_installed() {
    local package
    for package; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            echo "$package"
    done
}

# Installs these Debian packages, if any are named.
install_packages() {
    (($#)) || return 0
    command -v apt-get >/dev/null || fail "missing, and there is no apt-get to install it with: $*"
    export DEBIAN_FRONTEND=noninteractive
    step as_root apt-get -q update
    step as_root apt-get -q install -y --no-install-recommends "$@"
}

# Unpacks Debian packages into a new folder. Unlike installed ones, they start no services. The
# folder is made under another name and renamed, so that an existing one is complete.
unpack_packages() {
    local folder=$1 into=$1.partial archive
    shift
    rm -rf "$into"
    mkdir -p "$into/archives"
    (cd "$into/archives" && apt-get -q -o APT::Sandbox::User=root download "$@")
    for archive in "$into"/archives/*.deb; do
        dpkg -x "$archive" "$into"
    done
    rm -r "$into/archives"
    mv -T "$into" "$folder"
}

# Sets POSTERN_BIN, the binary to test, to the release build unless it is set.
need_postern() {
    if [[ -z ${POSTERN_BIN:-} ]]; then
        step cargo build --release --locked
        POSTERN_BIN=${CARGO_TARGET_DIR:-target}/release/postern
    fi
    POSTERN_BIN=$(realpath "$POSTERN_BIN")
    export POSTERN_BIN
}

# Runs a command in a network and a process namespace of its own: no packet leaves it, and no
# process outlives it. Clients use ports by the thousand, so almost all may be used; the reserved
# ones are for the server.
in_namespaces() {
    unshare --net --pid --fork --kill-child --mount-proc bash -euc '
        ip link set lo up
        echo "1024 65535" >/proc/sys/net/ipv4/ip_local_port_range
        echo "20000-29999" >/proc/sys/net/ipv4/ip_local_reserved_ports
        exec "$@"
    ' in_namespaces "$@"
}
