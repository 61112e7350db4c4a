"""The official annotations of public data sets: their classes, and which videos are for training and for testing."""
