"""The config files, and in schema.py the keys they may hold."""
