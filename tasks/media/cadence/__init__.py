"""Frames and fields to pictures: what a title's frames are, which fields make each picture, and reading just those."""
