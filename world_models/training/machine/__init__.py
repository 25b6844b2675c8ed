"""Training's share of a machine: device, threads and precision, and the processes that train or collect side by side."""
