#!/usr/bin/env bash
# The head of a Ray cluster keeps the cluster's state and takes submitted jobs. It plans nothing unless GRASP_HEAD_CPUS gives it
# processors, since planning would compete with the sweeps' drivers. Further options of `ray start` may follow.
set -euo pipefail
# shellcheck source=docker/commands/environment.sh
. "$(dirname "$0")/environment.sh"

exec ray start --head --block --disable-usage-stats \
  --port "${GRASP_RAY_PORT:-6379}" \
  --num-cpus "${GRASP_HEAD_CPUS:-0}" \
  --dashboard-host "${GRASP_DASHBOARD_HOST:-127.0.0.1}" \
  --dashboard-port "${GRASP_DASHBOARD_PORT:-8265}" \
  --object-store-memory 268435456 \
  "$@"
