"""Images, animations and trajectories of a few selected cells."""
