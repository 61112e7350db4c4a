"""The page in the browser and the HTTP interface: `python demo.py`."""
