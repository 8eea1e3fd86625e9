"""A corpus of the user's own: a file of passages, searched by BM25 with the library bm25s."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pfh.errors import UserError, did_you_mean, reading

from pfh_domains.search import Passage

WHOLE = "contents"
"""The column of Search-R1's corpora that holds a title, a line break and the text."""
FORMS = (".jsonl", ".json", ".parquet")


class Corpus:
    """The passages of one file, ranked as Lucene's BM25 ranks them (k1 1.5, b .75), English stop words left out."""

    def __init__(self, file: Path, passages: Sequence[Passage], digest: str) -> None:
        import bm25s

        self.file, self.passages = file, passages
        self.identity = f"bm25s {version('bm25s')}, corpus {digest}"
        self._index = bm25s.BM25()
        self._index.index(_tokens([f"{one.title}\n{one.text}" for one in passages]), show_progress=False)

    def search(self, queries: Sequence[str], count: int) -> list[list[Passage]]:
        """Return for each query at most `count` passages that share a word with it, the best first."""
        most = min(count, len(self.passages))
        places, scores = self._index.retrieve(_tokens(queries), k=most, show_progress=False)
        return [
            [self.passages[place] for place, score in zip(row, own, strict=True) if score > 0]
            for row, own in zip(places.tolist(), scores.tolist(), strict=True)
        ]


def open_corpus(named: str, columns: Sequence[str]) -> Corpus:
    """Read a corpus and index it.

    Args:
        named: a file of JSON lines or Parquet, a passage a row.
        columns: which hold a passage's id, title and text; a title may be missing, and ids decide nothing.

    Raises:
        UserError: bm25s is not installed, or the file is missing, empty, no such file, or has no such column.
    """
    if find_spec("bm25s") is None:
        raise UserError("Searching a corpus needs bm25s, which is not installed: pip install 'pfh[search]'.")
    file = Path(named).expanduser()
    if not file.is_file():
        raise UserError(f"There is no corpus at {named}.{_neighbour(file)} Name a file with corpus=FILE.")
    if file.suffix not in FORMS:
        raise UserError(f"The corpus {named} is neither JSON lines (.jsonl) nor Parquet (.parquet).")
    with reading(f"The corpus {named}", "give JSON lines or Parquet with a column for the text of a passage"):
        rows = _parquet(file) if file.suffix == ".parquet" else _json_lines(file)
        passages = [passage for row in rows if (passage := _passage(row, columns, named)).text]
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()[:20]
    if not passages or not any(_tokens([one.text for one in passages])):
        raise UserError(f"The corpus {named} is empty: no row of it has a text with a word to be found.")
    return Corpus(file, passages, digest)


def split_contents(contents: str) -> Passage:
    """Return the passage of a text whose first line is its title, as Search-R1's corpora write it."""
    title, _, text = contents.partition("\n")
    return Passage(title=title.strip().strip('"'), text=text.strip()) if text.strip() else Passage("", title.strip())


def _passage(row: tuple[int, Mapping[str, Any]], columns: Sequence[str], named: str) -> Passage:
    number, values = row
    _, title, text = columns
    if text not in values and WHOLE in values and text != WHOLE:
        return split_contents(_text(values[WHOLE]))
    if text not in values:
        raise UserError(
            f"{named}, row {number}: there is no column {text!r} with the text of a passage."
            f"{did_you_mean(text, values)} It has {', '.join(map(str, values)) or 'none'}: name yours with "
            "corpus_columns=ID,TITLE,TEXT."
        )
    if text == WHOLE:
        return split_contents(_text(values[text]))
    return Passage(title=_text(values.get(title)), text=_text(values[text]))


def _text(value: Any) -> str:  # noqa: ANN401 - JSON
    """Return a column's text; of a list, as datasets keep sentences, all of them."""
    if isinstance(value, list):
        return " ".join(_text(item) for item in value)
    return "" if value is None else str(value).strip()


def _json_lines(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{file}, line {number}: not valid JSON ({error}). Mend the file.") from error
            if not isinstance(row, dict):
                raise UserError(f"{file}, line {number}: not a JSON object. Mend the file.")
            yield number, row


def _parquet(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow.parquet as pq

    number = 0
    for batch in pq.ParquetFile(file).iter_batches():
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _tokens(texts: Sequence[str]) -> Any:  # noqa: ANN401 - what bm25s takes
    import bm25s

    return bm25s.tokenize(list(texts), stopwords="en", return_ids=False, show_progress=False)


def _neighbour(file: Path) -> str:
    return did_you_mean(file.name, (each.name for each in file.parent.iterdir())) if file.parent.is_dir() else ""
