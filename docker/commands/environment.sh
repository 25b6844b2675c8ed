# shellcheck shell=bash
# Sourced by the other scripts: the environment of all processes of a cluster.
# With Ray's default niceness of 15, any other process starves its workers.
export RAY_worker_niceness=0
# A driver under `uv run` would make every worker rebuild its environment.
export RAY_ENABLE_UV_RUN_RUNTIME_ENV=0
# Ray would warn in every worker that workers without a GPU now see all of them; ours plan on the CPU in that case anyway.
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0
# `ray job stop` would kill a driver after 3 seconds; it needs 25 to finish what is in flight.
export RAY_JOB_STOP_WAIT_TIME_S=30
# Send no usage reports.
export RAY_USAGE_STATS_ENABLED=0
export MLFLOW_DISABLE_TELEMETRY=true
export DO_NOT_TRACK=true
# Whoever reaches a Ray cluster can run code on it unless it asks for a token. The mode is always set: otherwise each of Ray's commands
# chooses one by what it finds in ~/.ray, and they may choose differently and fail to connect.
if [[ -n "${RAY_AUTH_TOKEN:-}${RAY_AUTH_TOKEN_PATH:-}" ]]; then
  export RAY_AUTH_MODE=token
else
  export RAY_AUTH_MODE="${RAY_AUTH_MODE:-disabled}"
fi
