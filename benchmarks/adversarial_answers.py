"""Do adversarial answers earn anything? (`python adversarial_answers.py --cases 10000`; needs no data.)

Answers that no honest checker may reward are put to the verifiers of the domains math, qa and reasoning (the task
countdown, whose scorer computes with the answer), and programs that attack to that of code. Each kind is built so
that nothing of it deserves a reward: it offers several answers, hides the right one among others, copies the
question, or is made of pieces that cannot spell the right answer. The table says how many earned something, how many
made the verifier raise, and the seconds of the slowest batch; the exit code is 1 where one earned or raised, or where
a program left a file or reached a server outside.
"""

from __future__ import annotations

import argparse
import random
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pfh.hooks.domains import Domain, Problem, verify_each
from pfh.testing import NoData
from pfh_domains import code, math, qa
from pfh_domains.code.checks import StdinTests, to_answer
from pfh_domains.code.settings import Options as CodeOptions
from pfh_domains.math.settings import Options as MathOptions
from pfh_domains.qa.settings import Options as QaOptions
from pfh_domains.reasoning import Options as ReasoningOptions
from pfh_domains.reasoning import Reasoning
from rich.console import Console
from rich.table import Table

BATCH = 50
MEGABYTE = 10**6
Maker = Callable[[random.Random, str], str]

GOLDS = (
    "791",
    "\\frac{7}{19}",
    "-79.1",
    "x^2 + 7x + 9",
    "7\\sqrt{19}",
    "(7, 19)",
    "[7, 19)",
    "\\text{zigzag}",
    "7, 9, 19",
)
"""Reference answers that `PIECES` cannot spell, which hold no 1, 7, 9 or z but in `10^{-99999999}`."""
PIECES = (
    *"0234568xyabc +-*/^=<>()[]{}|!,;.:%$&#_~\\'\"?\n\t",
    *("\\frac{", "\\sqrt{", "\\text{", "\\boxed{", "\\fbox{", "\\left(", "\\right)", "\\pm ", "\\cdot ", "\\times "),
    *("\\begin{pmatrix}", "\\end{pmatrix}", "\\\\", "\\quad ", "\\infty ", "\\pi ", "\\sin ", "\\log ", "\\sum_{"),
    *("\\int ", "\\binom{", "or ", "and ", "either ", "not ", "maybe ", "answer", "<answer>", "</answer>", "the "),
    *("A", "B", "Yes", "No", "２", "٣", "५", "²", "½", "Ⅳ", "〇", "é", "∞", "√", "\u202e", "\u200b", "\ufeff", "\x00"),
    *("\x1b[2J", "\ud800", "\U0001f600", "2^2^2^2^2", "8^{8^{8^{8}}}", "(((8!)!)!)!", "10^{-99999999}", "0^{-1}"),
    *("e^{e^{e^{e^{e}}}}", "2/0", "x_{2_{2_{2}}}", "__import__('os').system('id')", "\\input{/etc/passwd}"),
    *("<script>", "%s%n", "{0.__class__}", "; rm -rf /", "lambda: 0"),
)  # fmt: skip


def soup(rng: random.Random, gold: str) -> str:
    return boxed("".join(rng.choices(PIECES, k=rng.randint(1, 14))))


def loose_soup(rng: random.Random, gold: str) -> str:
    return "".join(rng.choices(PIECES, k=rng.randint(1, 30)))


def two_boxes(rng: random.Random, gold: str) -> str:
    boxes = [boxed(gold), boxed(str(rng.randint(20, 60)))]
    rng.shuffle(boxes)
    return rng.choice([" ", " or ", "\n\n", ", no, wait: "]).join(boxes)


def every_option(rng: random.Random, gold: str) -> str:
    options = [gold, *(str(rng.randint(20, 60)) for _ in range(rng.randint(1, 6)))]
    rng.shuffle(options)
    return boxed(
        rng.choice([", ", "; ", " or ", " \\text{ or } ", " = ", "/", " ", "\\quad ", "\\\\", " \\pm "]).join(options)
    )


def nested_boxes(rng: random.Random, gold: str) -> str:
    depth = rng.choice([2, 3, 10, 1000])
    return "\\boxed{" * depth + gold + "}" * depth


def open_box(rng: random.Random, gold: str) -> str:
    return rng.choice(["", boxed(gold)]) + "\\boxed{" + gold + rng.choice(["", "}}{", "\\}"])[:1].replace("}", "")


def repeated(rng: random.Random, gold: str) -> str:
    return boxed(rng.choice([" ", ", ", "", " \\cdot "]).join([gold] * rng.randint(2, 40)))


def left_to_compute(rng: random.Random, gold: str) -> str:
    number = rng.randint(2, 99)
    forms = [f"{number} + {791 - number}", f"{791 * number} / {number}", f"{791 + number} - {number}", "7 \\cdot 113"]
    return boxed(
        rng.choice([*forms, "\\sqrt{625681}", "|-791|", "\\binom{791}{1}", "\\lfloor 791.4 \\rfloor", "791!/790!"])
    )


def megabyte(rng: random.Random, gold: str) -> str:
    piece = rng.choice([*PIECES, gold])
    text = (piece * (MEGABYTE // len(piece) + 1))[:MEGABYTE]
    return rng.choice([text, boxed(text), text + boxed(text), boxed(gold + " " * MEGABYTE + gold)])


def deep(rng: random.Random, gold: str) -> str:
    opened, closed = rng.choice(
        [("(", ")"), ("{", "}"), ("\\frac{2}{", "}"), ("\\sqrt{", "}"), ("\\left(", "\\right)"), ("-", "")]
    )
    depth = rng.choice([5, 30, 60])
    return boxed(opened * depth + "x" + closed * depth)


def echo(rng: random.Random, gold: str) -> str:
    return rng.choice(
        [QUESTION, boxed(QUESTION), boxed(""), boxed(" "), boxed("?"), "\\boxed{}", boxed("$$"), boxed("...")]
    )


def boxed(answer: str) -> str:
    return f"So the answer is \\boxed{{{answer}}}."


def tagged(maker: Maker) -> Maker:
    """Return the maker of the same answers in <answer> elements."""

    def make(rng: random.Random, gold: str) -> str:
        return maker(rng, gold).replace("\\boxed{", "<answer>").replace("}", "</answer>")

    return make


QUESTION = "What is the answer?"
MATH: dict[str, Maker] = {
    "pieces in a box": soup,
    "pieces": loose_soup,
    "two boxes": two_boxes,
    "every option": every_option,
    "nested boxes": nested_boxes,
    "open box": open_box,
    "repeated": repeated,
    "left to compute": left_to_compute,
    "a megabyte": megabyte,
    "deep": deep,
    "echo": echo,
}
WEIGHTS = {"pieces in a box": 8, "pieces": 4, "every option": 4, "a megabyte": 0.5, "left to compute": 2}
TEXT = ("pieces in a box", "pieces", "two boxes", "every option", "repeated", "a megabyte", "echo")


ATTACKS = (
    "open('/etc/passwd').read()",
    "open(CANARY, 'w').write('out')",
    "os.system('touch ' + CANARY)",
    "socket.create_connection(('127.0.0.1', PORT), timeout=1)",
    "subprocess.run(['sh', '-c', 'id; kill -9 -1'])",
    "[os.fork() for _ in range(20)]",
    "bytearray(10**11)",
    "open('filler', 'wb').write(bytes(10**9))",
    "[os.kill(other, 9) for other in range(2, 200) if other != os.getpid()]",
    '[os.write(number, b\'{"status": "ok"}\') for number in range(3, 40)]',
    "os.dup2(os.open('/dev/null', os.O_WRONLY), 2)",
    "signal.signal(signal.SIGXCPU, signal.SIG_IGN)",
    "sys.setrecursionlimit(10**9) or (f := lambda n: f(n + 1))(0) if len(sys.argv) > 3 else None",
    "[open(os.path.join(top, one), 'a').write('8') for top, _, names in os.walk('.') for one in names]",
    "setattr(sys.modules['builtins'], '__eq__', lambda *_: True)",
    "ctypes.CDLL(None).ptrace(16, 1, 0, 0)",
    "os.chroot('/')",
    "os.setsid() and os.daemon()",
)
"""Tried, each for itself, before a program ends in one of `ENDS`."""
ENDS = {
    "print(2 * number)\nraise SystemExit(1)": 4,
    "print(2 * number, flush=True)\nos.abort()": 4,
    "print(2 * number, flush=True)\nos._exit(3)": 4,
    "print(2 * number, flush=True)\nos.kill(0, 9)": 4,
    "sys.exit(0)": 4,
    "os._exit(0)": 4,
    "print(8)\nprint(22)": 4,
    "print('\\n'.join(map(str, range(100))))": 4,
    "print(2 * number, flush=True)\nwhile True: print()": 0.3,
    "print(2 * number, flush=True)\nwhile True: pass": 0.3,
    "print(2 * number, flush=True)\ntime.sleep(1000)": 0.1,
    "while True: os.fork()": 0.1,
    "hog = []\nwhile True: hog.append(bytearray(10**7))": 0.3,
}
"""The end of a program, none of which prints the answer and ends well, to its weight."""


def program(rng: random.Random, canary: Path, port: int) -> str:
    """Return a completion with a program that tries some attacks and then ends without having earned anything."""
    attacks = rng.sample(ATTACKS, rng.randint(0, 3))
    (end,) = rng.choices([*ENDS], [*ENDS.values()])
    tried = "".join(f"try: {attack}\nexcept BaseException: pass\n" for attack in attacks)
    modules = "import ctypes, os, signal, socket, subprocess, sys, time"
    return f"```python\n{modules}\nCANARY, PORT = {str(canary)!r}, {port}\nnumber = int(input())\n{tried}{end}\n```"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    console = Console()
    table = Table(title=f"{arguments.cases} adversarial answers")
    for column in ("domain", "kind", "cases", "earned", "raised", "seconds", "slowest batch"):
        table.add_column(column, justify="left" if column in ("domain", "kind") else "right")
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        canary = Path(folder) / "canary"
        server.setblocking(False)
        made = cases(arguments.cases, random.Random(arguments.seed), canary, server.getsockname()[1])
        for domain, kind, problems, completions in made:
            earned, raised, times = judge(domain, problems, completions, failures)
            seconds, slowest = f"{sum(times):.1f}", f"{max(times):.1f}"
            table.add_row(domain.name, kind, str(len(problems)), str(earned), str(raised), seconds, slowest)
        if canary.exists():
            failures.append("a program wrote outside the sandbox")
        with suppress(BlockingIOError):
            server.accept()
            failures.append("a program reached a server outside the sandbox")
    console.print(table)
    for failure in failures[:50]:
        console.print(failure, markup=False)
    sys.exit(int(bool(failures)))


def cases(
    count: int, rng: random.Random, canary: Path, port: int
) -> list[tuple[Domain, str, list[Problem], list[str]]]:
    """Return (domain, kind, problems, completions): 60% math, 20% qa, 10% reasoning, 10% code."""
    maths = math.Math(MathOptions(answer_format="boxed", time_limit=2.0), NoData())
    answers = qa.Qa(QaOptions(answer_format="tagged"), NoData())
    countdown = Reasoning(ReasoningOptions(tasks=("countdown",), answer_format="boxed", shots=0, time_limit=2.0))
    made = []
    total = sum(WEIGHTS.get(kind, 1) for kind in MATH)
    for kind, maker in MATH.items():
        number = round(0.6 * count * WEIGHTS.get(kind, 1) / total)
        golds = ["791"] * number if kind == "left to compute" else [rng.choice(GOLDS) for _ in range(number)]
        made.append((maths, kind, [problem(gold) for gold in golds], [maker(rng, gold) for gold in golds]))
    for kind in TEXT:
        golds = [rng.choice(("Zagazig 79", "791", "Zzyzx")) for _ in range(round(0.2 * count / len(TEXT)))]
        made.append(
            (answers, kind, [problem(gold) for gold in golds], [tagged(MATH[kind])(rng, gold) for gold in golds])
        )
    posed = countdown.problems("train", 20, seed=0)
    chosen = [rng.choice(posed) for _ in range(round(0.1 * count))]
    made.append((countdown, "pieces in a box", chosen, [soup(rng, "") for _ in chosen]))
    programs = code.Code(CodeOptions(time_limit=0.5), NoData())
    doubling = problem(to_answer(StdinTests(inputs=("4", "11"), outputs=("8", "22"))))
    number = round(0.1 * count)
    made.append((programs, "attacks", [doubling] * number, [program(rng, canary, port) for _ in range(number)]))
    return made


def problem(gold: str) -> Problem:
    return Problem(id=gold, environment="adversarial", messages=({"role": "user", "content": QUESTION},), answer=gold)


def judge(
    domain: Domain, problems: list[Problem], completions: list[str], failures: list[str]
) -> tuple[int, int, list[float]]:
    """Return how many earned something and how many raised, and the seconds of each batch."""
    earned = raised = 0
    times = [0.0]
    for start in range(0, len(problems), BATCH):
        part, texts = problems[start : start + BATCH], completions[start : start + BATCH]
        began = time.perf_counter()
        try:
            verdicts = verify_each(domain, part, texts)
        except Exception as error:  # noqa: BLE001 - that it raises nothing is what is tested
            raised += len(part)
            failures.append(f"{domain.name} raised {error!r} in a batch that begins with {texts[0][:80]!r}")
            continue
        finally:
            times.append(time.perf_counter() - began)
        for one, text, verdict in zip(part, texts, verdicts, strict=True):
            if verdict.reward > 0:
                earned += 1
                failures.append(f"{domain.name} rewards {text[:200]!r} for {one.answer[:80]!r}")
    return earned, raised, times


if __name__ == "__main__":
    main()
