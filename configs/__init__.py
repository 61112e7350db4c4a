"""The schema of config files, and the configs themselves."""
