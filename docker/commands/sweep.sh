#!/usr/bin/env bash
# A sweep's driver on a running cluster. The arguments are those of `grasp sweep`: sweep=h50 seeds=256 name=mine.
# It may be run again at any time: only missing cells are planned.
set -euo pipefail
# shellcheck source=docker/commands/environment.sh
. "$(dirname "$0")/environment.sh"

exec python -m sweeps sweep backend=ray backend.address=auto \
  ${GRASP_OUTPUT:+"output=$GRASP_OUTPUT"} \
  ${GRASP_STORAGE:+"storage=$GRASP_STORAGE"} \
  ${GRASP_TRACKING_URI:+"tracking.uri=$GRASP_TRACKING_URI"} \
  "$@"
