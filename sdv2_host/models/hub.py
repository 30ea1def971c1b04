"""The Hugging Face hub, or a mirror of it: what it says of a file, and the bytes from an offset on.

Connection, token, proxy, offline switch and endpoint are those of huggingface_hub (HF_TOKEN,
HF_ENDPOINT, HF_HUB_OFFLINE), which reads its variables when it is imported: only commands import
this. What a server says is checked before use: names of blobs and commits are hex digits, nothing
else, so no answer can name a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from httpx2 import HTTPError, InvalidURL, Response
from huggingface_hub import constants, get_hf_file_metadata, get_session, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    hf_raise_for_status,
)

from sdv2_host.errors import ModelError
from sdv2_host.models.catalogue import COMMIT, HubFile
from sdv2_host.models.digest import ETAG

CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15}|\*)")
DENIED = frozenset({401, 403})


class BrokenConnectionError(ModelError):
    """The connection failed or ended early: to be tried again, from where it stopped."""


class RemoteFile(NamedTuple):
    """What the hub says of a file: its bytes never change under this commit and etag."""

    file: HubFile
    commit: str
    etag: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Hub:
    """One hub; None = the endpoint and the token that huggingface_hub finds."""

    endpoint: str | None = None
    token: str | None = None
    timeout_s: float = constants.HF_HUB_DOWNLOAD_TIMEOUT
    """Without a byte."""

    @property
    def address(self) -> str:
        return self.endpoint or constants.ENDPOINT

    def ask(self, file: HubFile) -> RemoteFile:
        """Size, commit and name of the file's bytes.

        Raises:
            ModelError: the hub is out of reach, refuses, does not have it, or answers nonsense.
        """
        with self._errors(file):
            url = hf_hub_url(file.repo, file.path, revision=file.revision, endpoint=self.endpoint)
            said = get_hf_file_metadata(url, token=self.token, timeout=self.timeout_s)
        if said.commit_hash is None or not COMMIT.fullmatch(said.commit_hash):
            raise self._no_hub(file, "names no commit")
        if said.etag is None or not ETAG.fullmatch(said.etag):
            raise self._no_hub(file, "gives no hash")
        if said.size is None or said.size < 0:
            raise self._no_hub(file, "does not state the size")
        return RemoteFile(file, said.commit_hash, said.etag, said.size)

    @contextmanager
    def read(self, remote: RemoteFile, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Where the answer begins, `start` or 0 if the server cannot skip, and its pieces.

        Raises:
            BrokenConnectionError: as often as the network likes.
            ModelError: the hub refuses, or answers nonsense.
        """
        file = remote.file
        with self._errors(file):
            url = hf_hub_url(file.repo, file.path, revision=remote.commit, endpoint=self.endpoint)
            # Identity: the size and the offsets are those of the bytes themselves.
            headers = build_hf_headers(token=self.token) | {"Accept-Encoding": "identity"}
            if start:
                headers["Range"] = f"bytes={start}-"
            with get_session().stream(
                "GET", url, headers=headers, timeout=self.timeout_s
            ) as response:
                hf_raise_for_status(response)
                yield self._first_byte(response, remote, start), response.iter_bytes()

    def _first_byte(self, response: Response, remote: RemoteFile, start: int) -> int:
        if response.status_code == 200:
            return 0
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status_code != 206 or match is None or int(match[1]) != start:
            raise self._no_hub(remote.file, f"answers {response.status_code} to a part of it")
        return start

    def _no_hub(self, file: HubFile, what: str) -> ModelError:
        return ModelError(
            f"{file.key}: {self.address} {what}, which a hub does: check HF_ENDPOINT and proxies"
        )

    @contextmanager
    def _errors(self, file: HubFile) -> Iterator[None]:
        """Turns what the hub's library and the network raise into one line for a person."""
        try:
            yield
        except OfflineModeIsEnabled as error:
            raise ModelError(
                f"{file.key}: not in the cache, and HF_HUB_OFFLINE is set: unset it and pull again"
            ) from error
        except HfHubHTTPError as error:
            raise self._refusal(file, error) from error
        except (HTTPError, InvalidURL) as error:
            reason = str(error).strip() or type(error).__name__
            raise BrokenConnectionError(
                f"{file.key}: no connection to {self.address} ({reason}): "
                "check the network and run it again, it goes on where it stopped"
            ) from error

    def _refusal(self, file: HubFile, error: HfHubHTTPError) -> ModelError:
        status = error.response.status_code
        if isinstance(error, GatedRepoError) or status in DENIED:
            return ModelError(
                f"{file.key}: access denied (HTTP {status}): accept the licence at "
                f"{self.address}/{file.repo}, then run hf auth login or set HF_TOKEN"
            )
        if status == 404:
            return ModelError(
                f"{file.key}: {self.address} does not have it at revision {file.revision} "
                "(HTTP 404): try --revision main, or import a file you have"
            )
        if status == 429 or status >= 500:
            return BrokenConnectionError(
                f"{file.key}: {self.address} is busy (HTTP {status}): try later"
            )
        return ModelError(f"{file.key}: {self.address} refuses (HTTP {status})")
