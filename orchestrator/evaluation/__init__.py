"""From plans to records: plans are executed in the simulator and judged."""
