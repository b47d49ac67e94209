"""Images in messages: `{{ photo | image }}`. A value can't forge one, since an image is never a text on its way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SCHEMES = ("https://", "http://", "data:image/")
DETAILS = ("auto", "low", "high")


class ImageError(Exception):
    """What a template does with an image can't be done."""


class Image:
    """What the filter gives; only printing it, alone, puts it into a message."""

    __slots__ = ("detail", "url")

    def __init__(self, url: str, detail: str) -> None:
        self.url = url
        self.detail = detail

    def __str__(self) -> str:
        raise ImageError("an image stands alone: {{ photo | image }}")


class ImageMark(str):
    """A printed image among the pieces of a rendering."""

    image: Image

    def __str__(self) -> str:
        return self


def image(url: Any, detail: str = "") -> Image:
    """The filter: an image by its address. Raises `ImageError` for what isn't one."""
    if not isinstance(url, str) or not url.startswith(SCHEMES):
        raise ImageError(f"an image is an address that starts with {', '.join(SCHEMES)}")
    if any(sign <= " " for sign in url):
        raise ImageError("an image's address has no spaces")
    if detail and detail not in DETAILS:
        raise ImageError(f"an image's detail is {', '.join(DETAILS)}")
    return Image(url, detail)


def printed(shown: Image) -> ImageMark:
    """An image as a piece of the rendering."""
    mark = ImageMark(shown.url)
    mark.image = shown
    return mark


def content_parts(pieces: Iterable[str]) -> str | list[dict[str, Any]]:
    """A message's content: the joined text, or parts in OpenAI's shape when there are images among the pieces.

    Blank text between images, and white space around the text beside one, is dropped.
    """
    parts: list[dict[str, Any]] = []
    text: list[str] = []
    for piece in pieces:
        if type(piece) is ImageMark:
            _close(text, parts)
            detail = {"detail": piece.image.detail} if piece.image.detail else {}
            parts.append({"type": "image_url", "image_url": {"url": piece.image.url, **detail}})
        else:
            text.append(piece)
    if not parts:
        return "".join(text)
    _close(text, parts)
    return parts


def _close(text: list[str], parts: list[dict[str, Any]]) -> None:
    whole = "".join(text).strip()
    text.clear()
    if whole:
        parts.append({"type": "text", "text": whole})
