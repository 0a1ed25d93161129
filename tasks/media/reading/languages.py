"""Languages that have two codes: ISO 639-2 gives some a bibliographic and a terminological one, which mean the same.

The list is that of the standard (https://www.loc.gov/standards/iso639-2/php/code_list.php).
"""

from __future__ import annotations

from itertools import permutations

_PAIRS = (
    "alb/sqi", "arm/hye", "baq/eus", "bur/mya", "chi/zho", "cze/ces", "dut/nld", "fre/fra", "geo/kat", "ger/deu",
    "gre/ell", "ice/isl", "mac/mkd", "mao/mri", "may/msa", "per/fas", "rum/ron", "slo/slk", "tib/bod", "wel/cym",
)  # fmt: skip
_TWINS = {code: twin for pair in _PAIRS for code, twin in permutations(pair.split("/"))}


def codes_of(language: str) -> tuple[str, ...]:
    """All codes of the language that has this one, which comes first."""
    twin = _TWINS.get(language)
    return (language, twin) if twin else (language,)
