"""The HTTP endpoint: parse a request, find its service and its caller, and word the answer as AWS does."""
