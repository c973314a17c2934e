"""For operators: who may ask, which members there are, and how they are."""
