"""Messages of the public API to and from the machine's operations, outcomes and records; one module for each noun.

Pure functions: nothing here waits, asks, decides or keeps anything.
"""
