"""Taking frames out of a filter graph of FFmpeg. Knows nothing of what the filters do."""

from __future__ import annotations

from collections.abc import Iterator

import av
import av.error
import av.filter


def pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    """Every picture that is ready by now."""
    while True:
        try:
            made = graph.pull()
        except (BlockingIOError, av.error.EOFError):
            return
        assert isinstance(made, av.VideoFrame)
        yield made
