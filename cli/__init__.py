"""The `garbagetruck` command line: it talks to the API through the client and starts nodes."""
