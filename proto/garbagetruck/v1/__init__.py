"""Generated messages and stubs of the public API, package `garbagetruck.v1`; see `tools/generate_proto.py`."""
