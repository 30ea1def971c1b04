"""`python -m tests.host.fake_sink WORD...`: a sink that does what each word says, then waits."""

from __future__ import annotations

import os
import sys

from sdv2_host.ipc.sink_state import SinkState, encode_state


def main(words: list[str]) -> None:
    for word in words:
        match word:
            case "on" | "off":
                state = SinkState(text=word, is_problem=word == "off")
                os.write(1, encode_state(state))
            case "print":
                os.write(1, b"a driver's greeting\n" + b"x" * 100_000 + b"\n")
            case "shout":
                os.write(2, b"x" * 1_000_000 + b"\nthe last words\n")
            case "die":
                os._exit(3)
            case "deaf":
                os.read(0, 1)
                while True:
                    os.read(os.pipe()[0], 1)
    os.read(0, 1)


if __name__ == "__main__":
    main(sys.argv[1:])
