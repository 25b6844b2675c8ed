"""World models and the tasks (true simulators) that they model. torch and numpy only."""
