"""One step of a search: optimisers, Gauss-Newton steps, sampled populations."""
