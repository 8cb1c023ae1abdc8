"""The gRPC provider of package `aws` for the real Pulumi engine, on the same table as the in-process driver."""
