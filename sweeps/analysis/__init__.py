"""Statistics of cells: rates, intervals, paired comparisons."""
