"""Models: what they consist of (manifest), where they live (registry), and how they get here safely (cache)."""
