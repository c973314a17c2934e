"""The recipes: one public idea per file, each reading like its algorithm. None imports another."""
