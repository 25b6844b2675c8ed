# shellcheck shell=bash
# Sourced by the other scripts: what the processes of a cluster, and all that they start, must find in their environment.
# Ray's default niceness of 15 starves its workers beside any other process.
export RAY_worker_niceness=0
# A driver under `uv run` would make every worker build its environment anew.
export RAY_ENABLE_UV_RUN_RUNTIME_ENV=0
# Ray would warn in every worker that those without a GPU of their own now see all of them; ours then plan on the CPU anyway.
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0
# `ray job stop` would kill a driver after 3 seconds; it needs 25 to finish what is in flight.
export RAY_JOB_STOP_WAIT_TIME_S=30
# Nothing is reported to anybody.
export RAY_USAGE_STATS_ENABLED=0
export MLFLOW_DISABLE_TELEMETRY=true
export DO_NOT_TRACK=true
# Whoever reaches a Ray cluster can run code on it, unless it asks for a token. The mode is said either way: left to themselves, Ray's
# commands choose it by what they find in ~/.ray, each in its own way, and then don't reach each other.
if [[ -n "${RAY_AUTH_TOKEN:-}${RAY_AUTH_TOKEN_PATH:-}" ]]; then
  export RAY_AUTH_MODE=token
else
  export RAY_AUTH_MODE="${RAY_AUTH_MODE:-disabled}"
fi
