"""What a source is and when each of its frames is shown: headers, side data, the frame table. Writes nothing."""
