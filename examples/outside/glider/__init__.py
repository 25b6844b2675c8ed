"""Glide, a puck on ice: a task, a world model, a goal cost and a planner of a user's own, in a package outside grasp."""
