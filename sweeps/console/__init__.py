"""What is printed while a command runs, and Ctrl-C."""
