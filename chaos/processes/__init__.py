"""A cluster of child processes behind proxies of our own, on one machine and without root."""
