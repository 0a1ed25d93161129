"""Everything that touches PyAV or pixels on disk: probing, frame-exact reading, colour, segments, masters.

Knows nothing of Prefect, Ray or object stores: a source arrives as an open `Source` (a local path or a seekable binary
file), so the same code reads a disk and a bucket. All differences between PyAV versions stay in here.
"""
