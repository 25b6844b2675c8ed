"""World models and the tasks (true simulators) that they model; depends on torch and numpy only."""
