"""Numbered image files through the `remaster` command: in and out, on a disk and in a bucket, and found again."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
import s3fs

from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.numbered import HEADERS, make_run, said
from tests.s3 import S3Server

pytestmark = pytest.mark.slow
DPX = "plate.%04d.dpx"


def _pixels(path: Path) -> np.ndarray:
    """[H, W, 3] of the one picture in a file."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        if frame.format.name.startswith("gbrp"):
            planes = [np.frombuffer(p, np.uint16).reshape(p.height, -1)[:, : p.width] for p in frame.planes]
            return np.stack([planes[2], planes[0], planes[1]], -1)
        return frame.to_ndarray(format="rgb24" if "24" in frame.format.name else "rgb48le")


def _said_of(library: Path, output: Path, name: str, first: int, frames: int) -> None:
    """What the headers of a master's files say is what those of its source's say."""
    suffix = Path(name).suffix
    for n in range(first, first + frames):
        before, after = said(library / (name % n)), said(output / Path(name).stem.split(".")[0] / (name % n))
        for field in [*HEADERS[suffix], "smpte:TimeCode"]:
            field = {"owner": "Copyright"}.get(field, field)
            assert after[field] == before[field], (n, field)


def test_film_comes_out_as_it_went_in(remaster: Remaster, tmp_path: Path) -> None:
    """Scale 1 changes nothing, so every sample of every file must be there again; a second run does nothing."""
    library, output = tmp_path / "library", tmp_path / "out"
    made = make_run(library, DPX, 30, 10, first=1001)
    result = remaster("run", library, output, "--scale", "1", "--set", "master.codec=dpx", "--set", "shards.frames=12")
    assert result.returncode == 0, result.stdout + result.stderr
    files = sorted(path.name for path in (output / "plate").iterdir())
    assert files == sorted([*(DPX % n for n in range(1001, 1031)), f"{DPX}.receipt.json"])
    for n, pixels in enumerate(made):
        assert np.array_equal(_pixels(output / "plate" / (DPX % (1001 + n))), pixels), n
    _said_of(library, output, DPX, 1001, 30)
    assert remaster("verify", output).returncode == 0
    stamps = [path.stat().st_mtime_ns for path in sorted((output / "plate").iterdir())]
    again = remaster("run", library, output, "--scale", "1", "--set", "master.codec=dpx", "--set", "shards.frames=12")
    assert again.returncode == 0, again.stdout + again.stderr
    assert stamps == [path.stat().st_mtime_ns for path in sorted((output / "plate").iterdir())]
    torn = output / "plate" / (DPX % 1007)
    torn.write_bytes(torn.read_bytes()[:-100] + bytes(100))
    bad = remaster("verify", output)
    assert bad.returncode != 0
    assert "frame 6" in bad.stdout
    mended = remaster("run", library, output, "--scale", "1", "--set", "master.codec=dpx", "--set", "shards.frames=12")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert np.array_equal(_pixels(torn), made[6])


def test_light_comes_out_as_it_went_in(remaster: Remaster, tmp_path: Path) -> None:
    library, output = tmp_path / "library", tmp_path / "out"
    opaque = make_run(library, "cg.%d.exr", 14, 16, first=8)
    keyed = make_run(library, "fx.%d.exr", 14, 16, first=8, alpha=True)
    result = remaster("run", library, output, "--scale", "1", "--set", "master.codec=exr")
    assert result.returncode == 0, result.stdout + result.stderr
    for name, made in (("cg", opaque), ("fx", keyed)):
        for n, pixels in enumerate(made):
            image = oiio.ImageInput.open(str(output / name / f"{name}.{8 + n}.exr"))
            assert np.array_equal(image.read_image("half"), pixels), (name, n)
        _said_of(library, output, f"{name}.%d.exr", 8, 14)


def test_images_become_a_video_and_a_video_images(remaster: Remaster, tmp_path: Path) -> None:
    library, output = tmp_path / "library", tmp_path / "out"
    make_run(library, "still_%03d.png", 20, 16, first=0)
    result = remaster("run", library, output, "--scale", "2", "--fps", "25", "--set", "master.preset=ultrafast",
                      "--set", "master.codec=ffv1")  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    (video,) = (path for path in output.iterdir() if path.suffix in {".mp4", ".mkv"})
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate, stream.codec_context.pix_fmt) == (
            128,
            96,
            25,
            "gbrp16le",
        )
        assert len(list(container.decode(stream))) == 20
    source = make(tmp_path / "videos" / "clip.mp4", Clip(frames=25))
    for codec, suffix in (("png", "png"), ("jpeg", "jpg")):
        out = tmp_path / codec
        result = remaster("run", source, out, "--scale", "2", "--set", f"master.codec={codec}")
        assert result.returncode == 0, result.stdout + result.stderr
        files = sorted(path.name for path in (out / "clip").iterdir() if path.suffix != ".json")
        assert files == [f"clip.{n:06d}.{suffix}" for n in range(25)]


def test_a_bucket_holds_runs_too(remaster: Remaster, s3_server: S3Server, tmp_path: Path) -> None:
    bucket, env = s3_server.make_bucket(), {**s3_server.env, "RAY_ADDRESS": ""}
    fs = s3fs.S3FileSystem(
        key=s3_server.env["AWS_ACCESS_KEY_ID"], secret=s3_server.env["AWS_SECRET_ACCESS_KEY"],
        client_kwargs={"endpoint_url": s3_server.endpoint}, use_listings_cache=False,
    )  # fmt: skip
    made = make_run(tmp_path / "library", DPX, 12, 10)
    for path in (tmp_path / "library").iterdir():
        fs.put_file(str(path), f"{bucket}/library/shot/{path.name}")
    place, settings = f"s3://{bucket}/out", ("--scale", "1", "--set", "master.codec=dpx")
    result = remaster("run", f"s3://{bucket}/library", place, "--store", f"s3://{bucket}/work", *settings, env=env)
    assert result.returncode == 0, result.stdout + result.stderr
    names = sorted(name.rpartition("/")[2] for name in fs.ls(f"{bucket}/out/shot/plate"))
    assert names == sorted([*(DPX % n for n in range(1001, 1013)), f"{DPX}.receipt.json"])
    fs.get_file(f"{bucket}/out/shot/plate/{DPX % 1005}", str(tmp_path / "back.dpx"))
    assert np.array_equal(_pixels(tmp_path / "back.dpx"), made[4])
    assert said(tmp_path / "back.dpx")["smpte:TimeCode"] == (0x01000004, 0)
    assert remaster("verify", place, env=env).returncode == 0
