"""How near a result is to a reference: the metrics that the field reports, each from one place.

    libvmaf   PSNR-Y, SSIM-Y, VMAF and VMAF-NEG, by the ffmpeg that imageio-ffmpeg brings
    lpips     the perceptual distance of Zhang et al., where its weights are installed
    flicker   the temporal warp error, where OpenCV is installed
    score     two files in, all of these out

Knows nothing of stores, flows or networks that enlarge.
"""
