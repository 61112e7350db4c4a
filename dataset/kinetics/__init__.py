"""Lists and labels of Kinetics-400."""
