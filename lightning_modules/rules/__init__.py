"""Learning rules: how the gradient of a batch is computed."""
