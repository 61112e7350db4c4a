"""Commands beside train.py, test.py, infer.py and export.py."""
