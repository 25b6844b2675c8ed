"""Small files: names that may become one, a join that stays below a folder, one atomic writer, one checked reader."""
