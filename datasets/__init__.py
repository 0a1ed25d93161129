"""Training and evaluation material: what is downloaded, how it is cut, degraded and set in motion.

Knows PyAV, numpy and torch; knows nothing of flows, stores or the networks that will learn from it.
"""
