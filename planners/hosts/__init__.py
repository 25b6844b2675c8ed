"""Planners of ours behind the solver interfaces of other libraries, and their solvers as planners of ours.

- `planners.hosts.stable_worldmodel`, `planners.hosts.le_wm`: solvers for a `_target_` in the host's configuration
- `planners.hosts.jepa_wms`: a planner for the host's agent
- `planners.hosts.solvers`: a host's solver as a `Planner`, for sweeps that compare theirs with ours

Nothing here imports a host: its objects are known by the methods that they offer.
"""
