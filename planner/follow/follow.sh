#!/bin/sh
# Take an OSTree client to the newest commit of a ref by its published route, one delta per hop.
# Usage: follow.sh REPO REMOTE REF [MAX_HOPS]
# Exit: 0 the client is on the target; 1 not even a full pull worked; 2 wrong use.
# Needs: ostree, and curl or wget for remotes that are not file://. The remote must exist in REPO.
set -eu
[ $# -ge 3 ] || { echo "usage: $0 REPO REMOTE REF [MAX_HOPS]" >&2; exit 2; }
repo=$1 remote=$2 ref=$3 max_hops=${4:-64}
area=extensions/deltaplan/routes
url=$(ostree remote show-url "$remote" --repo="$repo")
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT INT TERM

say() { echo "follow: $*" >&2; }

fetch() { # URL FILE: at most 1 MB, so that a hostile server cannot fill the disk
    case $1 in
    file://*) head -c 1000000 "${1#file://}" ;;
    *) if command -v curl >/dev/null; then curl -sf -m 60 --max-filesize 1000000 "$1"
       else wget -qO- -T 60 "$1" | head -c 1000000; fi ;;
    esac >"$2" 2>/dev/null
}

is_commit() { [ ${#1} -eq 64 ] && case $1 in *[!0-9a-f]*) false ;; esac }

base=$(ostree rev-parse --repo="$repo" "$remote:$ref" 2>/dev/null || ostree rev-parse --repo="$repo" "$ref" 2>/dev/null ||
    echo "${DELTAPLAN_BASE:-empty}") # DELTAPLAN_BASE: the deployed commit, where it is on another ref
target=$(ostree remote refs "$remote" --revision --repo="$repo" | tr '\t' ' ' | sed -n "s|^$remote:$ref ||p")
is_commit "$target" || { say "the remote has no ref $ref"; exit 1; }
[ "$base" != "$target" ] || { say "already at $target"; exit 0; }

hops() { # print the commits of the first route to the target that is short enough, or fail
    fetch "${url%/}/$area/$base" "$tmp/index" || return 1
    [ "$(head -n 1 "$tmp/index")" = deltaplan-routes/1 ] && [ "$(tail -n 1 "$tmp/index")" = end ] || return 1
    awk -v ref="$ref" -v target="$target" -v most="$max_hops" '
        $1 == "route" { if (taken) exit; taken = $2 == ref && $3 == target && $4 != "full" && $4 + 0 <= most + 0 }
        $1 == "hop" && taken { print $3; found = 1 }
        END { exit !found }' "$tmp/index"
}

walk() {
    hops >"$tmp/hops" || { say "no route from $base"; return 1; }
    while read -r commit; do
        is_commit "$commit" || return 1
        [ "$commit" = "$target" ] && commit="$ref@$target"
        ostree pull --repo="$repo" --require-static-deltas "$remote" "$commit" </dev/null >&2 || return 1
    done <"$tmp/hops"
}

walk || { say "pulling in full"; ostree pull --repo="$repo" --disable-static-deltas "$remote" "$ref@$target" >&2 || exit 1; }
[ "$(ostree rev-parse --repo="$repo" "$remote:$ref")" = "$target" ] || { say "the ref is not at $target"; exit 1; }
ostree fsck --quiet --repo="$repo" >&2 || exit 1
ostree prune --refs-only --depth=0 --repo="$repo" >&2
echo "$target"
