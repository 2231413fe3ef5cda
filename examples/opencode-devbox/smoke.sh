#!/bin/sh
# What every variant has to satisfy, whatever its tools.
set -eu

fail() {
    echo "smoke: $1" >&2
    exit 1
}

for tool in git curl jq rg node npm; do
    command -v "$tool" >/dev/null || fail "$tool is missing"
done

major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge 22 ] || fail "node is $(node --version), 22 or newer is needed"

[ "$(locale charmap)" = UTF-8 ] || fail "the locale is not UTF-8"

[ "$(id -u developer)" = 1000 ] || fail "developer is not user 1000"
[ "$(stat -c %U /home/developer/.pi/npm-global)" = developer ] || fail "developer cannot install packages"
[ "$NPM_CONFIG_PREFIX" = /home/developer/.pi/npm-global ] || fail "packages would be installed to $NPM_CONFIG_PREFIX"

# A volume hides everything below ~/.pi, so nothing of the image may live there.
[ -z "$(find /home/developer/.pi -type f)" ] || fail "files below ~/.pi would be hidden by the volume"

# Nothing that builds leave behind.
for leftover in /root/.npm /tmp/node-compile-cache /var/log/apt; do
    [ ! -e "$leftover" ] || fail "$leftover was left behind"
done

echo "all there"
