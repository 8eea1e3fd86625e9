"""What the questions are searched in: a corpus, or an endpoint."""

from __future__ import annotations

import os
from importlib.util import find_spec

from pfh.errors import UserError

from pfh_domains.qa.settings import URL_VARIABLE, Options
from pfh_domains.search import Retriever
from pfh_domains.search.corpus import open_corpus
from pfh_domains.search.endpoint import Endpoint


def open_retriever(options: Options) -> Retriever:
    """Return what `options` say is to be searched; says now, and not after hours, that it cannot be.

    Raises:
        UserError: nothing is named, the corpus cannot be read, or the endpoint does not answer.
    """
    if options.corpus:
        return open_corpus(options.corpus, options.corpus_columns)
    url = options.search_url or os.environ.get(URL_VARIABLE, "")
    if not url:
        raise UserError(
            "tool=search needs something to search: name a file of passages with -o qa.corpus=FILE, or an endpoint "
            f"with -o qa.search_url=URL or the environment variable {URL_VARIABLE}."
        )
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{URL_VARIABLE} is no URL that begins with http:// or https://.")
    if options.search_protocol == "gem" and find_spec("msgspec") is None:
        raise UserError("GEM's search protocol needs msgspec, which is not installed: pip install 'pfh[search]'.")
    endpoint = Endpoint(url, options.search_protocol)
    endpoint.check()
    return endpoint
