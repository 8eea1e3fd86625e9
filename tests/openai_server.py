"""An OpenAI-compatible endpoint over a small model, with the moods of a real one."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pfh.hooks.backends import Engine, GenerationRequest, Sampling


class Endpoint:
    """What the server was asked, and how it is to answer next."""

    def __init__(self, engine: Engine, model: str) -> None:
        self.engine, self.model = engine, model
        self.asked: list[dict[str, Any]] = []
        self.failures: list[int] = []
        """Status codes to answer with before anything else, the first one first."""
        self.statuses: Counter[int] = Counter()
        self.under_way = self.most_under_way = 0
        self.url = ""
        self._lock = threading.Lock()

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.under_way += 1
            self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            status, content = self._answer(path, body)
        finally:
            with self._lock:
                self.under_way -= 1
        self.statuses[status] += 1
        return status, content

    def _answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.failures:
            status = self.failures.pop(0)
            return status, {"error": {"message": f"mood {status}", "type": "mood"}}
        if path.endswith("/models"):
            return 200, {"object": "list", "data": [{"id": self.model, "object": "model"}]}
        self.asked.append(body)
        sampling = Sampling(
            max_new_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_p=body["top_p"],
            stop=tuple(body.get("stop", ())),
            seed=body["seed"],
        )
        chat = path.endswith("/chat/completions")
        given = {"messages": tuple(body["messages"])} if chat else {"prompt": body["prompt"]}
        with self._lock:
            done = self.engine.generate([GenerationRequest(id="0", **given)], sampling)[0]
        said = {"message": {"role": "assistant", "content": done.text}} if chat else {"text": done.text}
        choice = {"index": 0, "finish_reason": "length" if done.truncated else "stop", **said}
        usage = {
            "prompt_tokens": done.prompt_tokens,
            "completion_tokens": done.tokens,
            "total_tokens": done.prompt_tokens + done.tokens,
        }
        kind = "chat.completion" if chat else "text_completion"
        return 200, {
            "id": "0", "object": kind, "created": 0, "model": self.model, "choices": [choice], "usage": usage
        }  # fmt: skip


@contextmanager
def serving(engine: Engine, model: str) -> Iterator[Endpoint]:
    """Serve `engine` under the name `model` on a port of this machine."""
    endpoint = Endpoint(engine, model)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(*endpoint.answer(self.path, {}))

        def do_POST(self) -> None:
            self.reply(*endpoint.answer(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def reply(self, status: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status == 429:
                self.send_header("retry-after-ms", "20")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
