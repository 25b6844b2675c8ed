"""Where batches are planned: this process, or Ray actors; Ray is imported here only."""
