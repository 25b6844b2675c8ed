"""World models on disk: a card, and tensors as safetensors."""
