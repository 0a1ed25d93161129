"""The built-in network: a small causal recurrent video super-resolution network and its streaming adapter."""
