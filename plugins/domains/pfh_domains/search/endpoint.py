"""A search endpoint: the protocol of GEM's `SearchTool`, or that of Search-R1's retrieval server."""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from pfh.errors import StepFailedError, UserError
from pfh.text import redacted

from pfh_domains.search import Passage
from pfh_domains.search.corpus import split_contents

Protocol = Literal["gem", "search-r1"]
SECONDS = 30.0
"""A request that takes longer is tried again."""
TRIES = 5
PAUSE = 0.5
"""Seconds before the second try; each further pause is twice as long."""
AT_ONCE = 8
"""Requests under way, where a request holds one query."""
TOGETHER = 64
"""Queries of one request, where it may hold several."""
LARGEST = 16 << 20
"""Bytes of an answer."""


class Endpoint:
    """Asks a server for passages; what it fails at says nothing about who asked."""

    def __init__(self, url: str, protocol: Protocol) -> None:
        parts = urlsplit(url)
        login, _, host = parts.netloc.rpartition("@")
        self._url = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
        self._login = unquote(login)
        self._protocol = protocol
        self.shown = urlunsplit((parts.scheme, host, parts.path, "", ""))
        self.identity = f"{protocol} endpoint {self.shown}"

    def check(self) -> None:
        """Ask it once.

        Raises:
            UserError: nothing answers there, or what answers does not speak the protocol.
        """
        try:
            self._ask(["test"], 1)
        except _Failure as failure:
            raise UserError(
                f"The search endpoint {self.shown} {failure}: start the server, or correct search_url or "
                "search_protocol."
            ) from failure

    def search(self, queries: Sequence[str], count: int) -> list[list[Passage]]:
        """Return for each query at most `count` passages, the best first.

        Raises:
            StepFailedError: it failed however often it was asked.
        """
        size = TOGETHER if self._protocol == "search-r1" else 1
        parts = [list(queries[start : start + size]) for start in range(0, len(queries), size)]
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            answers = list(pool.map(lambda part: self._insist(part, count), parts))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return [passages[:count] for part in answers for passages in part]

    def _insist(self, queries: Sequence[str], count: int) -> list[list[Passage]]:
        pause = PAUSE
        for _ in range(TRIES - 1):
            try:
                return self._ask(queries, count)
            except _Failure:
                time.sleep(pause)
                pause *= 2
        try:
            return self._ask(queries, count)
        except _Failure as failure:
            raise StepFailedError(
                f"The search endpoint {self.shown} {failure}, {TRIES} times. No score was given for that; what was "
                "done is kept: run the same command again when it answers."
            ) from failure

    def _ask(self, queries: Sequence[str], count: int) -> list[list[Passage]]:
        """Ask once, one query or, where the protocol has several in a request, all of them."""
        batch = self._protocol == "search-r1"
        asked = {"queries": list(queries)} if batch else {"query": queries[0]}
        answer = self._post({**asked, "topk": count, "return_scores": True})
        found = answer.get("result") if isinstance(answer, dict) else None
        lists = found if batch else [found]
        if not isinstance(lists, list) or len(lists) != len(queries):
            raise _Failure("gave an answer without a list of results a query")
        try:
            return [[_passage(item) for item in each] for each in lists]
        except (KeyError, TypeError, AttributeError) as error:
            raise _Failure("gave results without document and contents") from error

    def _post(self, asked: dict[str, Any]) -> Any:  # noqa: ANN401 - what it answers
        import msgspec

        packed = self._protocol == "gem"
        headers = {"Content-Type": "application/msgpack" if packed else "application/json"}
        if self._login:
            headers["Authorization"] = f"Basic {base64.b64encode(self._login.encode()).decode()}"
        data = msgspec.msgpack.encode(asked) if packed else json.dumps(asked).encode()
        request = urllib.request.Request(self._url, data=data, headers=headers, method="POST")  # noqa: S310 - http or https
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
                content = response.read(LARGEST + 1)
        except urllib.error.HTTPError as error:
            raise _Failure(f"answers with status {error.code}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise _Failure(f"does not answer ({redacted(str(reason)) or type(error).__name__})") from error
        if len(content) > LARGEST:
            raise _Failure(f"gave an answer of more than {LARGEST >> 20} MB")
        try:
            return msgspec.msgpack.decode(content) if packed else json.loads(content)
        except (ValueError, RecursionError, msgspec.DecodeError) as error:
            raise _Failure(f"gave an answer that is no {'msgpack' if packed else 'JSON'}") from error


class _Failure(Exception):  # noqa: N818 - one try that failed
    """What an endpoint did in place of answering."""


def _passage(item: Any) -> Passage:  # noqa: ANN401 - JSON
    document = item.get("document", item)
    if "contents" in document:
        return split_contents(str(document["contents"]))
    return Passage(title=str(document.get("title") or ""), text=str(document["text"]))
