#!/bin/sh
# Take an OSTree client to the newest commit of a ref by its published route, one delta per hop.
# Usage: [DELTAPLAN_BASE=COMMIT] follow.sh REPO REMOTE REF [MAX_HOPS]
#   DELTAPLAN_BASE is the commit that the client is on, where REF does not say: a factory image is on another ref.
# Exit: 0 REF is at its newest commit, which is printed; 1 not even a full pull worked, REF is where it was;
#   2 wrong use. Needs: ostree, the remote in REPO, curl or wget. Without a route that works it pulls in full.
set -euf

say() { echo "follow: $*" >&2; }

index() { set -- "${url%/}/extensions/deltaplan/routes/$base" # at most 1 MB in a minute, whatever a server sends
    if command -v curl >/dev/null; then curl -q -gsf -m 60 "$1"
    else $(command -v timeout >/dev/null && echo timeout 60) wget -qO- -t 1 -T 60 "$1"; fi 2>/dev/null | head -c 1000000
}

is_commit() { [ ${#1} -eq 64 ] && case $1 in *[!0-9a-f]*) false ;; esac }

hops() { # the commits of the first route to the target that is short enough; the index must be whole, for this base
    index | base=$base ref=$ref target=$target most=$max_hops awk '
        NR == 1 { is_good = $0 == "deltaplan-routes/1" }
        NR == 2 { is_good = is_good && $0 == "base " ENVIRON["base"] }
        $1 == "route" { taken = !count && $2 == ENVIRON["ref"] && $3 == ENVIRON["target"] &&
                                $4 ~ /^[1-9][0-9]?$/ && $4 + 0 <= ENVIRON["most"] + 0; if (taken) count = $4 + 0 }
        $1 == "hop" && taken { route = route $3 "\n"; found++; end = $3 }
        last == "end" && !signed++ && /^signature ed25519 [0-9a-f]+ [A-Za-z0-9+\/]+==$/ { next } { last = $0 }
        END { if (!is_good || last != "end" || !count || found != count || end != ENVIRON["target"]) exit 1
              printf "%s", route }'
}

pull() { ostree pull --repo="$repo" "$@" </dev/null >&2; }

walk() {
    [ "$base" != "$target" ] || return 0
    route=$(hops) || { say "no route from $base"; return 1; }
    for commit in $route; do is_commit "$commit" && pull --require-static-deltas "$remote" "$commit" || return 1; done
}
check() { # that the target is complete, and nothing in the repository damaged
    ostree show --repo="$repo" "$target" >/dev/null && [ ! -e "$repo/state/$target.commitpartial" ] &&
        ostree fsck --quiet --repo="$repo" >&2
}
current() { ostree rev-parse --repo="$repo" "$1" 2>/dev/null || :; }

case $# in 3 | 4) repo=$1 remote=$2 ref=$3 max_hops=${4:-64} ;; *) max_hops=none ;; esac
case $max_hops in '' | *[!0-9]*) say "usage: $0 REPO REMOTE REF [MAX_HOPS]"; exit 2 ;; esac
url=$(ostree remote show-url "$remote" --repo="$repo")
target=$(ostree remote summary "$remote" --repo="$repo" | ref=$ref awk '
    $1 == "*" { # REF, or (COLLECTION, REF); its commit follows
                here = $NF == ENVIRON["ref"] || $NF == ENVIRON["ref"] ")" }
    here && NF == 1 && length($1) == 64 { print $1; exit }')
is_commit "$target" || { say "the remote has no ref $ref"; exit 1; }
now=$(current "$remote:$ref") && base=${DELTAPLAN_BASE:-${now:-$(current "$ref")}} && base=${base:-empty}
[ "$base" = empty ] || is_commit "$base" || { say "DELTAPLAN_BASE is no commit"; exit 2; }
[ "$now" != "$target" ] || { say "already there"; echo "$target"; exit 0; }
way=$(index | ref=$ref awk '$1 == "waypoint" && $2 == ENVIRON["ref"] { print $3 }') && is_commit "$way" && target=$way
walk && check || { # first drop what is damaged: a pull fetches and checks what is not there
    say "pulling in full"; ostree fsck --quiet --delete --repo="$repo" >&2 || :
    pull --disable-static-deltas "$remote" "$target" || exit 1; }
pull --disable-static-deltas "$remote" "$ref@$target" || exit 1 # only now the ref moves
ostree prune --refs-only --depth=0 --repo="$repo" >&2 || say "the repository cannot be pruned"
echo "$target"
