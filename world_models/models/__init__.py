"""The learned dynamics that ship, and worlds whose optimum is known."""
