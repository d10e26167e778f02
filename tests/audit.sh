#!/usr/bin/env bash
# What the dependencies are and may be: rules of deny.toml, and the parts of the program (CycloneDX).
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/target/tools

# Built once, in the quicker of the two ways.
tool() {
    "$tools/bin/$1" --version 2>/dev/null | grep -q " $2\$" && return
    cargo install --quiet --locked --debug --root "$tools" --target-dir "$tools/build" "$1@$2"
}
tool cargo-deny 0.20.2
[ -x "$tools/bin/cargo-cyclonedx" ] || tool cargo-cyclonedx 0.5.9

# The crates of every platform, since the rules are looked up in all of them: a build fetches those of its own only.
cargo fetch --locked --quiet
"$tools/bin/cargo-deny" --offline check --hide-inclusion-graph licenses bans sources
if "$tools/bin/cargo-deny" fetch db 2>/dev/null; then
    "$tools/bin/cargo-deny" check --disable-fetch advisories
else
    echo "known vulnerabilities were not looked for: the advisory database cannot be reached from here"
fi

mkdir -p target/image
SOURCE_DATE_EPOCH=0 "$tools/bin/cargo-cyclonedx" cyclonedx --format json --spec-version 1.5 --target "$(rustc -vV | sed -n 's/^host: //p')" \
    --override-filename programmatic-users-sbom --quiet
# No path of this machine is in it.
sed "s#path+file://$PWD#programmatic-users#g" programmatic-users-sbom.json > target/image/sbom.cdx.json
rm programmatic-users-sbom.json
parts=$(grep -c '"type": "library"' target/image/sbom.cdx.json)
[ "$parts" -gt 100 ]
echo "target/image/sbom.cdx.json: $parts parts"
