"""What the cells say: rates, intervals, paired comparisons."""
