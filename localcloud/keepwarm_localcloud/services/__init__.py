"""The AWS services that the embedded cloud answers itself, one folder each."""
