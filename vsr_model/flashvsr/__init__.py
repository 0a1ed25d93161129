"""FlashVSR: streaming one-step diffusion super-resolution on Wan2.1-T2V-1.3B (Zhuang et al., arXiv 2510.12747).

    schedule        which source frames make which latents, and which frames come out of them
    lq_projection   source frames to tokens
    rope            where a token is, as rotations
    attention       windows, which of them look at which, and the exact sparse attention
    dit             the diffusion transformer with its key-value cache
    tcdecoder       latents to frames, guided by the source (the small decoder)
    wan_vae         latents to frames (the full decoder)

Modules carry the names of the published checkpoints, so those load without a rename.
"""
