"""The replicated log: an ordered history of opaque payloads that a majority of nodes holds.

`log` is the face the rest of the node sees; everything else in this package is how pysyncobj is made to serve it.
"""
