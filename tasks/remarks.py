"""What a person should know of a plan: what its title becomes and what of it is not kept. Plans nothing itself."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.media.picture.hdr import brightest_light
from tasks.media.reading.probe import Probe
from tasks.media.writing.captions import uncaptioned
from tasks.media.writing.codecs import STILLS
from tasks.plan import Plan
from tasks.reading import remarks_on
from tasks.trust import doubts
from vsr_model.nits import TRANSFERS
from vsr_model.registry import find


def remarks(plan: Plan) -> tuple[str, ...]:
    """All of it, each in a sentence."""
    said: list[str] = []
    colour = plan.colour
    said += doubts(plan.title, plan.timeline)
    said += remarks_on(plan.reading)
    if plan.title.probe and plan.title.probe.pix_fmt in {"gbrpf32le", "gbrapf32le"}:
        said.append("the source's samples are 32-bit floats: the nearest 16-bit half floats are kept of them")
    if plan.title.probe and plan.timecode != plan.title.probe.timecode and plan.codec not in STILLS:
        said.append(
            f"the source's timecode, {plan.title.probe.timecode}, is restated for {float(plan.rate):.6g} pictures a"
            f" second: the master begins at {plan.timecode}"
        )
    if plan.timeline.captions.any() and (why := uncaptioned(plan.codec)):
        said.append(f"the source's closed captions are not carried: {why}")
    if plan.bars:
        bars = plan.bars
        lines = f"top {bars.top}, bottom {bars.bottom}, left {bars.left}, right {bars.right}"
        then = "put back exactly black" if plan.restored else "left out of the master"
        said.append(f"the source has black bars ({lines}): kept from the network and {then}")
    if plan.squared and plan.title.probe:
        height, width = plan.master_size
        said.append(
            f"the source's pixels are {plan.title.probe.sample_aspect} times as wide as high: the master of"
            f" {width}x{height} has square ones"
        )
    if plan.hdr and plan.title.probe:
        said += _remarks_on_hdr(plan, plan.title.probe)
    if colour.assumed:
        said.append(
            f"the source's colour is not (fully) tagged: matrix {colour.matrix}, primaries {colour.primaries}, transfer"
            f" {colour.transfer} were assumed from its size and are written to the master"
        )
    said += [f"shard {plan.shards[each.index].name}: {each.revision.words}" for each in plan.revised]
    return tuple(said)


def _remarks_on_hdr(plan: Plan, probe: Probe) -> Iterator[str]:
    assert plan.hdr is not None
    kind, tone = TRANSFERS[probe.colour.transfer], plan.hdr.tone
    peak = brightest_light(plan.timeline.peak, probe.colour)
    if tone:
        exposure = f", exposure {tone.exposure:+g} stops" if tone.exposure else ""
        yield f"the source is HDR ({kind}, up to {peak:.0f} nits): made SDR by the curve {tone.curve}{exposure}"
        return
    seen = "enlarged as it is" if find(plan.model.name).info.unbounded else "its detail made from a tone-mapped proxy"
    yield f"the source is HDR ({kind}, up to {peak:.0f} nits) and stays so: {seen}"
