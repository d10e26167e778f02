#!/usr/bin/env bash
# What the dependencies are and may be: rules of deny.toml, known vulnerabilities, and the parts of the program (CycloneDX).
#   tests/audit.sh [advisories]     the second form looks for known vulnerabilities only
# ADVISORIES=required fails if the advisory database cannot be read, and is the default in CI; ADVISORIES=optional warns.
# ADVISORY_DB is the folder or URL of a Git repository (branch main) to read them from, such as a mirror of RustSec's.
set -euo pipefail
cd "$(dirname "$0")/.."
DENY=0.20.2 CYCLONEDX=0.5.9
if [ "${CI:-}" = true ] || [ "${GITHUB_ACTIONS:-}" = true ]; then default=required; else default=optional; fi
advisories=${ADVISORIES:-$default}
case $advisories in required | optional) ;; *) echo "error: ADVISORIES is required or optional, not $advisories" >&2; exit 2 ;; esac

# Built once for all checkouts, in the quicker of the two ways. The folder's name comes last, so that what has it is whole.
cache=${PROGRAMMATIC_USERS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/programmatic-users}
key=$(printf '%s\n' "$DENY" "$CYCLONEDX" "$(rustc -vV)" | sha256sum | cut -c1-16)
tools=$cache/tools/$key
if [ ! -d "$tools" ]; then
    partial=$tools.partial.$$
    trap 'rm -rf "$partial"' EXIT
    for tool in "cargo-deny@$DENY" "cargo-cyclonedx@$CYCLONEDX"; do
        cargo install --quiet --locked --debug --root "$partial" --target-dir "$partial/build" "$tool"
    done
    rm -rf "$partial/build"
    # Another run may have been quicker.
    [ -d "$tools" ] || mv "$partial" "$tools"
fi
deny=$tools/bin/cargo-deny

known_vulnerabilities() {
    local work config
    work=$(mktemp -d)
    config=deny.toml
    if [ -n "${ADVISORY_DB:-}" ]; then
        config=$work/deny.toml
        sed "s#^\[advisories\]#&\ndb-path = \"$work/db\"\ngit-fetch-with-cli = true#" deny.toml > "$config"
        # cargo-deny takes no folder: Git goes there in place of the usual address.
        export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=url.$ADVISORY_DB.insteadOf GIT_CONFIG_VALUE_0=https://github.com/RustSec/advisory-db
    fi
    if "$deny" --config "$config" fetch db > "$work/said" 2>&1; then
        "$deny" --offline --config "$config" check advisories || { rm -rf "$work"; return 1; }
    else
        cat "$work/said" >&2
        local message="the advisory database ${ADVISORY_DB:-of RustSec} cannot be read: known vulnerabilities were NOT looked for"
        rm -rf "$work"
        if [ "$advisories" = required ]; then
            echo "error: $message. Set ADVISORY_DB to a mirror, or ADVISORIES=optional to go on without" >&2
            return 1
        fi
        echo "warning: $message"
        return
    fi
    rm -rf "$work"
}

if [ "${1:-}" = advisories ]; then
    known_vulnerabilities
    exit
fi

# The crates of every platform, since the rules are looked up in all of them: a build fetches those of its own only.
cargo fetch --locked --quiet
"$deny" --offline check --hide-inclusion-graph licenses bans sources

mkdir -p target/image
SOURCE_DATE_EPOCH=0 "$tools/bin/cargo-cyclonedx" cyclonedx --format json --spec-version 1.5 --target "$(rustc -vV | sed -n 's/^host: //p')" \
    --override-filename programmatic-users-sbom --quiet
# No path of this machine is in it.
sed "s#path+file://$PWD#programmatic-users#g" programmatic-users-sbom.json > target/image/sbom.cdx.json
rm programmatic-users-sbom.json crates/*/programmatic-users-sbom.json
parts=$(grep -c '"type": "library"' target/image/sbom.cdx.json)
[ "$parts" -gt 100 ]
echo "target/image/sbom.cdx.json: $parts parts"
# Last, where it is seen.
known_vulnerabilities
