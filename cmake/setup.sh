# Set-up shared by sim/run and tests/run; to be sourced by bash.
#
# A fresh Debian 12 machine has none of what dynode is built with. setup_packages looks what is missing and installs that
# from Debian's archive, as root or through sudo, saying what and why; when all is there it says nothing and asks nobody.
# setup_build configures a preset and builds it. Both can be called again at any time.

PYTHON=/usr/bin/python3 # Debian's own: another python3 in PATH does not see Debian's python3-protobuf

setup_say() {
    if [ -t 1 ]; then printf '\033[1m== %s\033[0m\n' "$*"; else echo "== $*"; fi
}

# The groups: why they are needed, and the packages.
setup_group() {
    case $1 in
    build) echo "to build: cmake ninja-build gcc libc6-dev pkg-config" ;;
    store) echo "libraries that dynode uses: libnng-dev libwiredtiger-dev libprotobuf-c-dev protobuf-c-compiler" \
        "libxxhash-dev libuv1-dev libcyaml-dev libyaml-dev libsodium-dev libjansson-dev" ;;
    check) echo "unit tests, configured with the rest: libcmocka-dev" ;;
    python) echo "to drive real nodes from Python: python3 python3-protobuf protobuf-compiler" ;;
    git) echo "to list the sources that mutants are made of: git" ;;
    fuzz) echo "fuzzers: clang-14 libclang-rt-14-dev" ;;
    bench) echo "the benchmark's yardstick: redis-server" ;;
    *) echo "setup: no package group $1" >&2; return 1 ;;
    esac
}

# setup_packages GROUP...: status 2, and a sentence, where that cannot be done; nothing was installed then, or apt says how far
# it came.
setup_packages() {
    local group line why package missing all=() sudo=()
    for group in "$@"; do
        line=$(setup_group "$group") || return 1
        why=${line%%: *}
        missing=()
        for package in ${line#*: }; do
            [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
        done
        if [ ${#missing[@]} -gt 0 ]; then
            setup_say "to install ($why): ${missing[*]}"
            all+=("${missing[@]}")
        fi
    done
    [ ${#all[@]} -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "setup: this machine has no apt-get; install by hand what the lines above name" >&2
        return 2
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "setup: neither root nor sudo; as root: apt-get install ${all[*]}" >&2
            return 2
        fi
        sudo=(sudo)
    fi
    local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0)
    local install=("${apt[@]}" install --no-install-recommends "${all[@]}")
    # The lists may be missing (a fresh image) or too old for what the mirror still has.
    if apt-cache show "${all[@]}" >/dev/null 2>&1 && "${install[@]}" </dev/null; then return 0; fi
    if ! "${apt[@]}" update </dev/null || ! "${install[@]}" </dev/null; then
        echo "setup: apt-get failed, see above; when that is mended, call this again, or as root: apt-get install ${all[*]}" >&2
        return 2
    fi
}

# setup_build PRESET [TARGET...], from the project's folder.
setup_build() {
    local preset=$1 log=build/$1/configure.log
    shift
    setup_say "building build/$preset"
    mkdir -p "build/$preset"
    if ! cmake --preset "$preset" >"$log" 2>&1; then
        cat "$log" >&2
        return 1
    fi
    cmake --build "build/$preset" ${*:+--target "$@"}
}
