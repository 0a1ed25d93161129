"""Pixels: how they lie in memory, what their colours mean, and back. Knows frames, but no file they come from."""
