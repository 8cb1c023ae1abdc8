"""Policy pack that refuses unsafe serverless AI designs."""
