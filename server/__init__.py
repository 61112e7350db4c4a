"""The pages in a browser, and what answers them."""
