"""World models in archives of `torch.jit` and `torch.export`, used as they are; nothing in them is unpickled or imported."""
