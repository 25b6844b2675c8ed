"""Public checkpoints of other projects, read by our own implementations of the published architectures."""
