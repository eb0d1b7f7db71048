#!/usr/bin/env bash
# Makes what deploy/compose.yaml reads from deploy/secrets/: passwords, addresses that hold them, and
# the server's keys. What is there is left as it is, so that it may be run again.
#
# The keys are printed by the server itself: ACOLHE_SERVER names its binary or a command that runs
# it (default: the image, by docker).
set -euo pipefail
umask 077
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p secrets

# 32 random bytes as hexadecimal digits: fits an address without escapes.
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# Written whole or not at all. Readable for the containers' own accounts, which are not ours; the
# folder itself is closed.
put() {
    if [ -e "secrets/$1" ]; then
        cat > /dev/null
        return
    fi
    cat > "secrets/$1.new"
    chmod 0644 "secrets/$1.new"
    mv "secrets/$1.new" "secrets/$1"
    echo "made secrets/$1"
}

for name in postgres_password acolhe_owner_password acolhe_app_password redis_password grafana_password; do
    random | put "$name"
done

# In the network of the compose file, which is on one machine: no TLS.
printf 'postgres://acolhe_app:%s@postgres/acolhe?sslmode=disable' "$(cat secrets/acolhe_app_password)" | put database_url
printf 'postgres://acolhe_owner:%s@postgres/acolhe?sslmode=disable' "$(cat secrets/acolhe_owner_password)" | put database_owner_url
printf 'redis://:%s@redis:6379/0' "$(cat secrets/redis_password)" | put redis_url
# Read by redis-server as a part of its configuration.
printf 'requirepass %s\n' "$(cat secrets/redis_password)" | put redis_auth

if ! [ -e secrets/keys_master ] || ! [ -e secrets/auth_signing_key ]; then
    read -r -a server <<< "${ACOLHE_SERVER:-docker run --rm --network none acolhe-server:local}"
    keys=$("${server[@]}" keys generate)
    sed -n 's/^ACOLHE_KEYS_MASTER=//p' <<< "$keys" | put keys_master
    sed -n 's/^ACOLHE_AUTH_SIGNING_KEY=//p' <<< "$keys" | put auth_signing_key
fi

# Alertmanager's account at the mail server: not ours to make.
if ! [ -e secrets/smtp_password ]; then
    printf 'change me' | put smtp_password
    echo "write the mail account's password into secrets/smtp_password, and the account into alertmanager/alertmanager.yml"
fi

for name in keys_master auth_signing_key; do
    [ -s "secrets/$name" ] || { echo "secrets/$name is empty: remove it and run this again" >&2; exit 1; }
done
echo "Keep a copy of secrets/keys_master where the backups are not: without it they cannot be opened."
