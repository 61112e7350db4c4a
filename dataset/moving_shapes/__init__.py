"""A small data set in which only motion tells the classes apart."""
