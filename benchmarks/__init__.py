"""How fast it is here, as ratios against raw sockets to the same server in the same run."""
