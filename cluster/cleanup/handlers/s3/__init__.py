"""The `s3` handler: removes objects, everything below a prefix, and unfinished uploads, from a store that speaks S3."""

from garbagetruck.cluster.cleanup.handlers.s3.handler import S3Handler, s3_handlers

__all__ = ["S3Handler", "s3_handlers"]
