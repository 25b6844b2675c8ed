"""A cluster whose hosts are network namespaces of this machine, and a sweep that survives cuts of the network."""
