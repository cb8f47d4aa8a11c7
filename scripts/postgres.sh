#!/usr/bin/env bash
# PostgreSQL's programs for the tests that start a server of their own, where they are missing.
# Installs Debian's package as root; makes and starts no cluster.
set -euo pipefail

for initdb in "$(command -v initdb || true)" /usr/lib/postgresql/*/bin/initdb /usr/local/pgsql/bin/initdb; do
    if [ -x "$initdb" ]; then exit 0; fi
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "PostgreSQL is missing, and its tests will not run: apt install postgresql (as root), or what installs" \
        "initdb and postgres here" >&2
    exit 0
fi
echo "installing PostgreSQL (once) ..."
export DEBIAN_FRONTEND=noninteractive
# A mirror may be out of reach for a moment, and another installer at work.
get() {
    for pause in 5 10 0; do
        if apt-get -qq -o DPkg::Lock::Timeout=300 update &&
            apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$1"; then return 0; fi
        sleep "$pause"
    done
    return 1
}
get postgresql-common
# Its package would make a cluster and start it on the port that others may want.
settings=/etc/postgresql-common/createcluster.conf
sed -i 's/^#\? *create_main_cluster *=.*/create_main_cluster = false/' "$settings"
grep -q '^create_main_cluster = false' "$settings" || echo 'create_main_cluster = false' >>"$settings"
get postgresql
