"""Published figures beside one's own: a checkpoint, a dataset and a protocol in one command."""
