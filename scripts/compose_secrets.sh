#!/bin/sh
# Print random passwords and keys for docker-compose.yml: scripts/compose_secrets.sh > .env
#
# POSTGRES_PASSWORD is set when the database is created: keep the file with the data.
set -eu
for name in POSTGRES_PASSWORD VALKEY_PASSWORD S3_SECRET_ACCESS_KEY LUTHIER_ENGINE_API_KEY; do
    printf '%s=%s\n' "$name" "$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')"
done
