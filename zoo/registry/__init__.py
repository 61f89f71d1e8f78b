"""Published checkpoints and runs: what a name means, how checkpoints are written, read and verified."""
