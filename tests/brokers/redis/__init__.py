"""Topics at Redis, beside the server that the tests start."""
