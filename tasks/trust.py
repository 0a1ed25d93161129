"""How far the frames of a source and their times can be trusted: what a title is refused for, and what is only said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from tasks.errors import SourceError
from tasks.media.reading.damage import damage_of
from tasks.media.reading.decoding import WITH_ALPHA
from tasks.media.reading.source import Source
from tasks.media.reading.stamps import NEVER, evenly
from tasks.media.reading.timeline import Timeline, decoding_command
from tasks.profile import Profile
from tasks.records import Title
from tasks.sources import open_source
from tasks.store.sequence import pattern_of


def trusted(title: Title, timeline: Timeline, profile: Profile) -> Timeline:
    """A title's frame table, with the times that a person gives it if it has none of its own.

    Raises:
        SourceError: more of it is damaged than the profile allows, or nobody knows when its frames are shown.
    """
    assert title.probe is not None
    decoder = WITH_ALPHA.get(title.probe.codec, "") if title.probe and title.probe.layout.alpha else ""
    again = decoding_command(Source(title.uri, title.name), decoder)
    rate = profile.sequence.rate()
    if (timeline.said == NEVER).all() and (rate is not None or not timeline.duration.any()):
        if rate is None:
            raise SourceError(
                f"{title.name}: frame 0 has no timestamp, nor has any other, and no header says how fast they are"
                f" shown. Say it (`--fps RATE`), or give them some (`{again.replace('ffmpeg', 'ffmpeg -r RATE')}`)."
            )
        times = evenly(len(timeline) + 1, rate, title.probe.time_base)
        timeline = replace(timeline, pts=times[:-1], duration=np.diff(times))
    damage = damage_of(timeline, title.probe.time_base)
    # Image files are numbered: where one is missing the others would get its number.
    most = 0 if pattern_of(title.uri) else profile.limits.damaged
    if damage.frames > most:
        with open_source(title.uri, title.name):  # which says of numbered files which one is torn
            raise SourceError(
                f"{title.name}: is damaged {damage}. Fetch a good copy; or, to have the picture as a player would show"
                f" it, decode it first (`{again}`), or set `limits.damaged` in the profile, which is {most}, to"
                f" {damage.frames} at least."
            )
    return timeline


def rate_of(title: Title, timeline: Timeline) -> Fraction:
    """Frames a second on average as the source says, 0 if unknown; of one without timestamps those of its table."""
    assert title.probe is not None
    if (timeline.said == NEVER).all():
        # Ticks are too few to tell the rate by one frame.
        whole = int(timeline.pts[-1] + timeline.duration[-1] - timeline.pts[0]) * title.probe.time_base
        return (len(timeline) / whole).limit_denominator(1001)
    return title.probe.frame_rate


def doubts(title: Title, timeline: Timeline) -> Iterator[str]:
    """What a person should know of a title that was taken nevertheless."""
    assert title.probe is not None
    damage = damage_of(timeline, title.probe.time_base)
    if damage.frames:
        yield (
            f"the source is damaged: {damage.concealed} frames are made up in part, and {damage.missing} are missing."
            " Frames are taken as the decoder shows them, those that lean on damaged ones too, and where one is missing"
            f" the one before is shown for longer: {damage}"
        )
    astray = np.flatnonzero(timeline.pts != timeline.said)
    if (timeline.said == NEVER).all():
        rate = float(rate_of(title, timeline))
        yield f"the source has no timestamps: its pictures are shown evenly, {rate:.6g} a second"
    elif len(astray):
        yield (
            f"timestamps of {len(astray)} frames are missing or go back, the first that of frame {astray[0]}: these"
            " frames are shown in their order, evenly between their neighbours where nothing better is known"
        )
