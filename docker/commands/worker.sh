#!/usr/bin/env bash
# A worker node: it joins the head at GRASP_RAY_ADDRESS (host:port) with all of its processors and GPUs each time it starts.
# Further options of `ray start` may follow, e.g. --num-cpus 4 or --labels kind=fast.
set -euo pipefail
# shellcheck source=docker/commands/environment.sh
. "$(dirname "$0")/environment.sh"
: "${GRASP_RAY_ADDRESS:?name the head that this node joins, e.g. GRASP_RAY_ADDRESS=head:6379}"

python "$(dirname "$0")/ready.py" "tcp://$GRASP_RAY_ADDRESS" "${GRASP_PATIENCE:-300}"
exec ray start --address "$GRASP_RAY_ADDRESS" --block --disable-usage-stats --object-store-memory 268435456 "$@"
