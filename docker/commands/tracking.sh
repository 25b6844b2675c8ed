#!/usr/bin/env bash
# MLflow's server on PostgreSQL. The password comes from PGPASSWORD or from the file GRASP_DATABASE_PASSWORD_FILE, never from
# a command line, where every user of the machine could read it.
set -euo pipefail
# shellcheck source=docker/commands/environment.sh
. "$(dirname "$0")/environment.sh"

if [[ -n "${GRASP_DATABASE_PASSWORD_FILE:-}" ]]; then
  PGPASSWORD="$(<"$GRASP_DATABASE_PASSWORD_FILE")"
fi
: "${PGPASSWORD:?the database asks for a password: set PGPASSWORD or GRASP_DATABASE_PASSWORD_FILE}"
export PGPASSWORD
# MLflow's job execution would start five more processes of 245 MB each.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false

exec mlflow server --workers 2 \
  --host "${GRASP_TRACKING_HOST:-127.0.0.1}" \
  --port "${GRASP_TRACKING_PORT:-5000}" \
  --allowed-hosts "${GRASP_TRACKING_ALLOWED_HOSTS:-localhost:*,127.0.0.1:*}" \
  --backend-store-uri "postgresql+psycopg://${GRASP_DATABASE:-mlflow@127.0.0.1:5432/mlflow}" \
  --artifacts-destination "${GRASP_TRACKING_ARTIFACTS:-mlartifacts}"
