"""Where files lie, a folder or an object store, and who may write to them."""
