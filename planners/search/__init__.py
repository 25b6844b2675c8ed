"""Code that all planners share: the search loop, further attempts, noise, and initialisers."""
