#!/usr/bin/env bash
# Packages the chart for a release: the image of its defaults is named by its digest, since a tag can be moved to another image.
#   DIGEST=sha256:… [REPOSITORY=registry/programmatic-users] [OUT=folder] [HELM=helm] charts/release.sh
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${DIGEST:-} =~ ^sha256:[0-9a-f]{64}$ ]] || {
    echo "error: DIGEST is '${DIGEST:-}': give the digest of the release's image, sha256: and 64 hexadecimal digits" >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The definitions are a link to crds/.
cp -rL charts/programmatic-users "$work/"
values=$work/programmatic-users/values.yaml
sed -e "s#^  digest: \"\"\$#  digest: \"$DIGEST\"#" -e "s#^  repository: .*#  repository: ${REPOSITORY:-programmatic-users}#" \
    charts/programmatic-users/values.yaml > "$values"
grep -q "^  digest: \"$DIGEST\"\$" "$values"
"${HELM:-helm}" package --destination "${OUT:-target/release-chart}" "$work/programmatic-users"
