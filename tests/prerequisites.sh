#!/usr/bin/env bash
# Says in one sentence each what is missing; as root on Debian installs what a package brings.
set -euo pipefail

packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
command -v python3 >/dev/null || packages+=(python3)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
# The commands of the documentation.
command -v curl >/dev/null || packages+=(curl)
# The console is tested in a real browser.
command -v chromium >/dev/null || packages+=(chromium)
command -v chromedriver >/dev/null || packages+=(chromium-driver)
# Alerts and the dashboard are tried on a real Prometheus.
{ command -v prometheus && command -v promtool; } >/dev/null || packages+=(prometheus)
# One of the platform's two databases.
[ -n "$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || packages+=(postgresql)
if ((${#packages[@]})); then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing ${packages[*]}"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >/dev/null
    else
        echo "error: install ${packages[*]} (names of Debian's packages), or run this as root on Debian" >&2
        exit 1
    fi
fi
command -v cargo >/dev/null || { echo "error: install Rust (rustup; rust-toolchain.toml names the version)" >&2; exit 1; }
command -v go >/dev/null || { echo "error: install Go 1.26 or newer: the control plane is built from Kubernetes' Go modules" >&2; exit 1; }
