"""How fast it is here, side by side with its rivals: ratios to raw sockets, and to them, from the same run."""
