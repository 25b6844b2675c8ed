"""Storage of files in a folder or an object store, and locks that admit one writer."""
