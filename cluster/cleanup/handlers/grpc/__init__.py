"""The `grpc` handler: asks a service that implements `garbagetruck.v1.CleanupHandler` to clean up."""

from garbagetruck.cluster.cleanup.handlers.grpc.handler import GrpcHandler, grpc_handlers

__all__ = ["GrpcHandler", "grpc_handlers"]
