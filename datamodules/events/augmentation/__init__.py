"""Random changes of recordings, in training."""
