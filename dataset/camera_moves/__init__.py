"""A small data set of real video whose classes are moves of a camera."""
