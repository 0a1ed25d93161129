"""FlashVSR: streaming one-step diffusion super-resolution on Wan2.1-T2V-1.3B (Zhuang et al., arXiv 2510.12747).

    lq_projection   source frames to tokens
    rope            where a token is, as rotations
    attention       windows, which of them look at which, and the exact sparse attention
    trial           whether a kernel may be trusted on a device
    fused           the steps between the transformer's products, plainly or in one pass each (`fused_triton`)
    dit             the diffusion transformer with its key-value cache
    tcdecoder       latents to frames, guided by the source (the small decoder)
    wan_layers      what Wan's autoencoder is built of
    wan_vae         latents to frames (the full decoder)
    wan_tiles       the same in tiles
    wan_encoder     frames to latents, for training
    noise           what the latents start from
    pipeline        one stream through all of these, in chunks
    upscaler        any size of picture, behind the contract
    weights         the published files, checked, imported and loaded
    models          the modes by name

Modules carry the names of the published checkpoints, so those load without a rename.
"""
