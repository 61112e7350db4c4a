"""Tools that list, check, prepare and make data sets."""
