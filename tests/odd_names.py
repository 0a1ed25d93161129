"""File names that are allowed, and that careless code breaks on."""

ODD_NAMES = [
    "with space.mkv",
    " leading and trailing ",
    "-rf",
    "--help",
    "~user",
    "naïve 映画 🎬.mp4",
    "new\nline.mkv",
    "tab\tand\rreturn",
    "hash#1.mkv",
    "question?versionId=3",
    "100%25.mkv",
    "percent%.mkv",
    "a*b[c]{d}",
    "back\\slash",
    "quote'\"s",
    "colon: and; more",
    ".hidden",
    "...",
]
