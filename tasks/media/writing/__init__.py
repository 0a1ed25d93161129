"""Segments and masters: encoders, muxing, and whatever a source carries besides its picture."""
