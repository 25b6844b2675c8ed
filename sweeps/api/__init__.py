"""What `import grasp_orchestrator` offers: sweeps, studies and single plans from Python, by the commands' own functions."""
