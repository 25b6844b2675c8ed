"""What all planners share: the loop, further attempts, noise, and where a search starts."""
