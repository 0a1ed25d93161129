"""FlashVSR on a real GPU: the contract, the kernel, and the picture of the CPU when both look at the same windows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from tests.unit.model_contract import check_contract, make_clip, run
from vsr_model import classical, color, convolution
from vsr_model.contract import Placement
from vsr_model.convolution import conv_relu
from vsr_model.flashvsr import attention, dit
from vsr_model.flashvsr.channel_norm import norm_silu, norm_silu_on
from vsr_model.flashvsr.fused import Plain, steps_on
from vsr_model.flashvsr.models import load_small
from vsr_model.flashvsr.seen import Seen
from vsr_model.flashvsr.tcdecoder import Memory, TcDecoder, TimeGrow
from vsr_model.trial import ROUNDING, agree

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _as_a_worker_sets_it() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_contract(dtype: str) -> None:
    check_contract(load_small(Placement("cuda", dtype)), 2, sizes=[(17, 23)], frames=35, slicings=2)


@pytest.mark.parametrize(("dtype", "close"), [("float32", 1e-4), ("bfloat16", 1e-2)])
def test_the_picture_is_the_one_of_the_cpu(dtype: str, close: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the windows that the CPU chose: a near tie that falls the other way is another picture, not an error."""
    recorded: list[torch.Tensor] = []
    choose = attention.choose_windows

    def record(*inputs: torch.Tensor) -> torch.Tensor:
        recorded.append(choose(*inputs))  # type: ignore[arg-type]
        return recorded[-1]

    settings = (("color_fix", "none"), ("sparse_ratio", 0.5))
    clip_T3HW = make_clip(load_small(Placement()), 41, 64, 96)
    monkeypatch.setattr(dit, "choose_windows", record)
    here_T3HW = run(load_small(Placement("cpu", "float32", settings)).stream(64, 96, 4), clip_T3HW)
    replayed = iter(recorded)
    monkeypatch.setattr(dit, "choose_windows", lambda *_: next(replayed).to(CUDA))
    there_T3HW = run(load_small(Placement("cuda", dtype, settings)).stream(64, 96, 4), clip_T3HW.to(CUDA)).cpu()
    assert next(replayed, None) is None
    difference = float((there_T3HW - here_T3HW).square().mean().sqrt())
    assert difference < close, difference


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("tokens", "width"), [(128, 128), (128, 32), (16, 16)])
def test_the_kernel_is_used_and_exact(dtype: torch.dtype, tokens: int, width: int) -> None:
    kernel = attention._kernel(CUDA, dtype, tokens, width)
    assert kernel is not None
    for heads, queries, keys in ((1, 1, 1), (3, 7, 11), (2, 66, 132)):
        query, key, value = (torch.randn((heads, n, tokens, width), device=CUDA) for n in (queries, keys, keys))
        query, key, value = (x.to(dtype) for x in (query, key, value))
        for share in (0.0, 0.3, 1.0):
            chosen = torch.rand((heads, queries, keys), device=CUDA) < share
            exact = Seen.alone(key.double(), value.double())
            wanted = attention.exact_attention(query.double(), exact, chosen)
            found = kernel(query, Seen.alone(key, value), chosen)
            error = float((found.double() - wanted).abs().max())
            assert error < ROUNDING[dtype], (share, error)


@pytest.mark.skipif(
    torch.cuda.get_device_capability()[0] != 9 if torch.cuda.is_available() else True, reason="Hopper's"
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_hopper_has_its_own_kernel(dtype: torch.dtype) -> None:
    kernel = attention._kernel(CUDA, dtype, 128, 128)
    assert kernel is not None
    assert kernel.__module__.endswith("attention_hopper")
    for slabs, heads, windows in ((1, 1, 1), (3, 2, 5), (4, 12, 66)):
        pool = [torch.randn((slabs + 2, heads, windows, 128, 128), device=CUDA).to(dtype) for _ in range(2)]
        numbers = torch.randperm(slabs + 2, device=CUDA)[:slabs].to(torch.int32)
        seen = Seen(*pool, numbers)
        query = torch.randn((heads, windows, 128, 128), device=CUDA).to(dtype)
        chosen = torch.rand((heads, windows, slabs * windows), device=CUDA) < 0.4
        chosen[0, 0] = False
        wanted = attention.exact_attention(query.float(), Seen(*(x.float() for x in pool), numbers), chosen)
        error = float((kernel(query, seen, chosen).float() - wanted).abs().max())
        assert error < ROUNDING[dtype], error


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("width", "heads"), [(1536, 12), (64, 2)])
def test_the_fused_steps_are_used_and_exact(dtype: torch.dtype, width: int, heads: int) -> None:
    assert not isinstance(steps_on(CUDA, dtype, width, heads), Plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_projections_norm_is_used_and_exact(dtype: torch.dtype) -> None:
    assert norm_silu_on(CUDA, dtype) is not norm_silu


def test_the_colour_fix_has_its_kernel() -> None:
    kernel = color._kernel(CUDA)
    assert kernel is not None
    result, source = torch.randn((2, 8, 3, 129, 250), device=CUDA)
    wanted = color.match_plainly(result.double(), source.double(), -1.0, 1.0, color.WAVELET_LEVELS)
    assert float((kernel(result, source, -1.0, 1.0, color.WAVELET_LEVELS) - wanted).abs().max()) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_convolutions_to_a_few_channels_have_their_kernel(dtype: torch.dtype) -> None:
    assert convolution._few_on(CUDA, dtype) is not None


@pytest.mark.parametrize("halves", [False, True])
def test_a_large_convolution_is_done_as_was_sooner(halves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "_in_halves", {})
    monkeypatch.setattr(convolution, "_milliseconds", lambda way, *_: 1.0 if (way is F.conv2d) != halves else 2.0)
    x_BCHW, weight_OC33 = (
        torch.randn(size, device=CUDA).bfloat16().contiguous(memory_format=torch.channels_last)
        for size in ((1, 256, 66, 122), (128, 256, 3, 3))
    )
    found = convolution.conv_soonest(x_BCHW, weight_OC33 * 0.02, None)
    assert list(convolution._in_halves.values()) == [halves]
    agree("its result", found, F.conv2d(x_BCHW.float(), weight_OC33.float() * 0.02), torch.bfloat16)


def test_resampling_has_its_kernel_with_the_same_bits() -> None:
    assert classical._kernel(CUDA) is not None
    x_T3HW = torch.randn((2, 3, 50, 71))
    for size in ((200, 284), (97, 40)):
        for kernel in ("bicubic", "lanczos"):
            there_T3HW = classical.resize(x_T3HW.to(CUDA), *size, kernel).cpu()
            assert torch.equal(there_T3HW, classical.resize(x_T3HW, *size, kernel))


def test_merged_convolutions_are_as_near_the_truth() -> None:
    """As those they were merged from: weights that are rounded once instead of twice make it no worse."""
    torch.manual_seed(0)
    exact = TcDecoder().to(CUDA)
    errors = {}
    source, latent = torch.randn((3, 8, 64, 96), device=CUDA), torch.randn((16, 2, 8, 12), device=CUDA)
    with torch.inference_mode():
        wanted = exact(latent, source, Memory())
        for merged in (False, True):
            decoder = TcDecoder()
            decoder.load_state_dict(exact.state_dict())
            decoder.to(CUDA, torch.bfloat16)
            decoder.lay_out()
            for grow in decoder.decoder:
                if isinstance(grow, TimeGrow) and not merged:
                    grow.merged = []
            found = decoder(latent.bfloat16(), source.bfloat16(), Memory()).float()
            errors[merged] = float((found - wanted).square().mean().sqrt())
    assert errors[True] < 1.1 * errors[False], errors


def test_the_transformer_may_leave_the_device_between_chunks() -> None:
    upscaler = load_small(Placement("cuda", "float32", (("unload_dit", True),)))
    clip_T3HW = make_clip(upscaler, 41, 16, 24)
    stream = upscaler.stream(16, 24, 2)
    parts = [stream.push(clip_T3HW[:30])]
    assert next(upscaler.networks.dit.parameters()).device.type == "cpu"
    parts += [stream.push(clip_T3HW[30:]), stream.finish()]
    stayed_T3HW = run(load_small(Placement("cuda", "float32")).stream(16, 24, 2), clip_T3HW)
    assert torch.equal(torch.cat(parts), stayed_T3HW)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_is_no_number_passes_a_convolution_and_what_follows_it(dtype: torch.dtype) -> None:
    """Or an overflow inside the small decoder would end as a black spot and not as another precision."""
    conv = torch.nn.Conv2d(8, 8, 3, padding=1, device=CUDA, dtype=dtype)
    x_BCHW = torch.zeros((1, 8, 6, 6), device=CUDA, dtype=dtype).contiguous(memory_format=torch.channels_last)
    x_BCHW[0, 3, 2, 2] = torch.nan
    with torch.no_grad():
        assert conv_relu(conv, x_BCHW)[0, :, 2, 2].isnan().all()
        assert conv_relu(conv, torch.zeros_like(x_BCHW), x_BCHW)[0, 3, 2, 2].isnan()
