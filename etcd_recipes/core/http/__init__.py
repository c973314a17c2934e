"""One request -> one endpoint -> the next endpoint. Knows HTTP and endpoints; knows no keys."""
