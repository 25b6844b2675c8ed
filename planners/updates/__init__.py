"""Updates that a search is made of: optimisers, Gauss-Newton steps, sampled populations."""
