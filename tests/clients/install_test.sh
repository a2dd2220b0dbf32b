#!/bin/sh
# A stranger's program against an installed libdynode: install into an empty directory, compile with
# nothing but pkg-config's word, link, run. It opens a client, is told what is wrong with an address, and learns that
# nobody listens.
# usage: install_test.sh BUILD_DIR [FLAGS OF THE SANITIZER ...]
set -eu
build=$1
shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cmake --install "$build" --prefix "$dir/tree" >"$dir/log"
"$dir/tree/bin/dynode" --version
cat >"$dir/stranger.c" <<'C'
#include <dynode.h>
#include <stdio.h>

int main(void)
{
    struct dynode_client *client;
    char why[256];
    if (dynode_open("tcp://nowhere", NULL, &client, why, sizeof(why)) != DYNODE_INVALID) return 1;
    printf("%s\n", why);
    if (dynode_open("unix:///nonexistent/dynode.sock", NULL, &client, why, sizeof(why)) != DYNODE_OK) return 2;
    struct dynode_reply *reply = dynode_get(client, "users", dynode_string("ada"));
    printf("%s: %s\n", dynode_status_name(reply->status), reply->results[0].message);
    int wrong = reply->status != DYNODE_UNAVAILABLE;
    dynode_reply_free(reply);
    dynode_close(client);
    return wrong ? 3 : 0;
}
C
pc=$(dirname "$(find "$dir/tree" -name libdynode.pc)")
lib=$(dirname "$pc")
# The prefix that CMake was configured with is not the one of this test: the file finds its own.
flags=$(PKG_CONFIG_PATH=$pc pkg-config --cflags --libs libdynode)
# shellcheck disable=SC2086
cc -std=c11 -Wall -Wextra -Werror "$@" "$dir/stranger.c" -o "$dir/stranger" $flags
LD_LIBRARY_PATH=$lib "$dir/stranger"

# The header alone is C++ too, and nothing but the public names is visible.
if command -v c++ >/dev/null; then
    echo '#include <dynode.h>' | c++ -fsyntax-only -Wall -Werror -x c++ -I"$dir/tree/include" -
fi
hidden=$(nm -D --defined-only "$lib/libdynode.so" | awk '$2 ~ /[TDBR]/ && $3 !~ /^dynode_/ { print $3 }')
if [ -n "$hidden" ]; then
    echo "libdynode.so shows names that are not public: $hidden"
    exit 1
fi
# Nor does it need more than it says: protobuf-c, the C library, and what a sanitizer brings.
needed=$(readelf -d "$lib/libdynode.so" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | grep -vE '^(libprotobuf-c|libc|libasan|libubsan|libtsan|libm|ld-linux.*)\.so' || true)
if [ -n "$needed" ]; then
    echo "libdynode.so needs $needed"
    exit 1
fi
