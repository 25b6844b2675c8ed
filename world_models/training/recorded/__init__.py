"""Training from recorded datasets, without a simulator."""
