"""Import of other projects' public checkpoints into our own implementations of the published architectures."""
