"""One module for each client that is measured; each imports in the virtual environment of its peer alone."""
