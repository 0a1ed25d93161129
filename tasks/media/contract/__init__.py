"""A master held against its source: what both hold, how every frame looks, and a verdict on each row."""
