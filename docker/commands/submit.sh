#!/usr/bin/env bash
# Sends the code in this folder to a cluster and runs a sweep there; the arguments are those of `grasp sweep`. The job goes on when
# this terminal is closed. The cluster gets no .git, so the commit is passed along.
set -euo pipefail
# shellcheck source=docker/commands/environment.sh
. "$(dirname "$0")/environment.sh"

revision="$(git describe --always --dirty --abbrev=40 '--exclude=*' 2>/dev/null || echo unknown)"
exec ray job submit \
  --address "${GRASP_DASHBOARD:-http://127.0.0.1:8265}" \
  --working-dir . \
  --runtime-env docker/runtime_env.yaml \
  -- env "GRASP_REVISION=$revision" bash docker/commands/sweep.sh "$@"
