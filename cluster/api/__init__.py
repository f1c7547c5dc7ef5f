"""The public gRPC API: servicers that translate and nothing else."""
