"""Everything that touches Ray: the worker that turns one shard into one segment, and the pool that leases workers out.

`worker` is plain Python and runs without Ray; `pool` wraps it in actors, one a GPU.
"""
