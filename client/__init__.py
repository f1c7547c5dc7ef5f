"""The Python client of the public API: asynchronous first, with a thin synchronous face."""
