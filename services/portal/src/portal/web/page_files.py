"""The page's own files, read once: what is not among them does not exist, whatever a path says."""

import gzip
import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from portal.web.errors import RefusedError

FILES_MAX: Final = 500
FILES_BYTES_MAX: Final = 8 * 1024 * 1024
TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "mjs": "text/javascript; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "woff2": "font/woff2",
}
INDEX: Final = "index.html"
_ZIPPED: Final = ("css", "html", "js", "json", "mjs", "svg", "txt")
_NO_PAGE: Final = b"Flotilla's portal: this installation has no page; /stream has the data.\n"


class PageFile(Struct, frozen=True, kw_only=True):
    """
    One file.

    Attributes:
        zipped: The same by gzip; empty where that would not pay.
    """

    body: bytes
    zipped: bytes
    kind: str
    etag: str


def read_page_files() -> dict[str, PageFile]:
    """
    The files of the package's `page` by their path in it; of other types than TYPES none.

    Raises:
        ValueError: More than the bounds: the package is broken.
    """
    found: dict[str, PageFile] = {}
    root = files("portal") / "page"
    if root.is_dir():
        _read(root, "", found)
    return found


def page_response(request: Request, found: dict[str, PageFile], path: str) -> Response:
    """A file, or 304 where the browser has it already."""
    file = found.get(path)
    if file is None:
        if path == INDEX:
            return Response(_NO_PAGE, media_type="text/plain; charset=utf-8")
        raise RefusedError(404, "not_found", "There is no such file")
    headers = {"etag": file.etag, "cache-control": "no-cache", "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    if file.zipped and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.zipped, headers={**headers, "content-encoding": "gzip", "content-type": file.kind})
    return Response(file.body, headers={**headers, "content-type": file.kind})


def _read(folder: Traversable, prefix: str, found: dict[str, PageFile]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            _read(entry, f"{prefix}{entry.name}/", found)
            continue
        ending = entry.name.rpartition(".")[2]
        if ending not in TYPES:
            continue
        body = entry.read_bytes()
        zipped = gzip.compress(body, mtime=0) if ending in _ZIPPED else b""
        found[prefix + entry.name] = PageFile(
            body=body,
            zipped=zipped if len(zipped) < len(body) else b"",
            kind=TYPES[ending],
            etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        )
        if len(found) > FILES_MAX or sum(len(file.body) for file in found.values()) > FILES_BYTES_MAX:
            raise ValueError("the folder page holds more than a page")
