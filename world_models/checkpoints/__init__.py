"""World models on disk: a card, and tensors in safetensors."""
