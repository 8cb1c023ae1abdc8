"""CloudWatch Logs and metrics as services write them."""
