"""A data set's fingerprint, and what follows from it for training."""
