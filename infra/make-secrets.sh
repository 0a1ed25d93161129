#!/bin/sh
# Writes infra/.env, which compose.yaml reads: a new random secret for each part. Never overwrites one.
set -eu
cd "$(dirname "$0")"
[ ! -e .env ] || { echo "make-secrets.sh: $(pwd)/.env is there already; remove it to have new secrets" >&2; exit 1; }
umask 077
secret() { od -An -N 24 -t x1 /dev/urandom | tr -d ' \n'; }
for name in RAY_AUTH_TOKEN POSTGRES_PASSWORD AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY GRAFANA_PASSWORD; do
    echo "$name=$(secret)"
done >.env
echo "$(pwd)/.env"
