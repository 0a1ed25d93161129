"""Networks and how to run them as streams of frames.

Knows torch and nothing of files, containers, object stores, Prefect or Ray: a network here turns frames that are
already on a device into larger frames on that device.
"""
