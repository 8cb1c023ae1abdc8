"""The real Pulumi CLI against the embedded cloud: finding it, its working copy, its provider, its state."""
