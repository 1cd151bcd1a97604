"""What is done once to every case before training, and the way back to the source grid."""
