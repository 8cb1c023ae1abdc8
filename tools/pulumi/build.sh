#!/bin/sh
# Builds the pinned Pulumi CLI once, into a cache outside the tree, and prints the path of the executable to use.
#
# A `pulumi` on PATH of the pinned version or newer is used as it is. KEEPWARM_PULUMI_FORCE=1 ignores it.
# The command needs Go (see go.mod) and the Go module proxy; it takes about four minutes on two cores, once.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's|^\s*github.com/pulumi/pulumi/pkg/v3 \(v[0-9.]*\).*|\1|p' "$here/go.mod")
[ -n "$version" ] || { echo "KW667 tools/pulumi: go.mod pins no github.com/pulumi/pulumi/pkg/v3; fix: restore it from git" >&2; exit 2; }
cache="${XDG_CACHE_HOME:-$HOME/.cache}/keepwarm/pulumi/$version"
built="$cache/pulumi"

newer_or_same() { # $1 >= $2, both as v1.2.3
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

if [ "${KEEPWARM_PULUMI_FORCE:-}" != 1 ] && found=$(command -v pulumi 2>/dev/null); then
    installed=$("$found" version 2>/dev/null || true)
    case $installed in
        v[0-9]*) if newer_or_same "$installed" "$version"; then echo "$found"; exit 0; fi ;;
    esac
fi

if [ -x "$built" ]; then
    echo "$built"
    exit 0
fi

command -v go >/dev/null 2>&1 || {
    echo "KW666 tools/pulumi: got no Go on PATH; allowed Go as named in tools/pulumi/go.mod; because the Pulumi CLI" \
        "$version is built from source; fix: install Go, or install the Pulumi CLI itself" >&2
    exit 2
}

mkdir -p "$cache"
# Two builds at once share nothing but the final rename, which is atomic.
partial=$(mktemp "$cache/.pulumi.XXXXXX")
trap 'rm -f "$partial"' EXIT
echo "building pulumi $version into $cache (about four minutes, once)" >&2
(cd "$here" && go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=$version" \
    -o "$partial" github.com/pulumi/pulumi/pkg/v3/cmd/pulumi)
chmod 755 "$partial"
mv "$partial" "$built"
trap - EXIT
echo "$built"
