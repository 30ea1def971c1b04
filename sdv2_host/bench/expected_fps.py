"""`python -m sdv2_host.bench.expected_fps SECONDS`: how fast the engine of a config goes, as JSON.

A process of its own, as `engine_facts`. The engine is built as a worker builds it and given frames
as fast as it takes them, so that nothing but it sets the pace.

    stdin   {"config": Config, "params": Params}
    stdout  {"fps": ..., "chunk_ms": ..., "chunks": ..., "warm_up_s": ...}; an error of the user's
            side is one line on stderr and its exit code
"""

from __future__ import annotations

import json
import sys
from statistics import median
from typing import Any

from sdv2_host.bench.pipeline import free_run, silent, source_frames
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.config import Config
from sdv2_host.errors import HostError
from sdv2_host.host.engines import build_engine
from sdv2_host.params import Params

SETTLE_CHUNKS = 3
"""Until the caches are full and the chunks are as long as later ones."""


def expected_fps(config: Config, params: Params, seconds: float) -> dict[str, Any]:
    """Frames per second, and the median chunk, over about `seconds` after the warm-up.

    Raises:
        HostError: the engine cannot be had.
    """
    begin_ns = now_ns()
    engine = build_engine(config, silent)
    engine.warm_up(params, silent)
    warm_up_s = (now_ns() - begin_ns) / NS_PER_S
    frames = source_frames()
    count = engine.chunk_frames
    engine.step(frames[: engine.first_chunk_frames], params)
    for _ in range(SETTLE_CHUNKS):
        engine.step(frames[:count], params)
    chunk_ms, _ = free_run(engine, frames, params, seconds, silent)
    return {
        "fps": round(count * len(chunk_ms) / (sum(chunk_ms) / 1000), 2),
        "chunk_ms": round(median(chunk_ms), 2),
        "chunks": len(chunk_ms),
        "warm_up_s": round(warm_up_s, 2),
    }


def main() -> int:
    """Answers what is asked on standard input; the exit code."""
    asked = json.loads(sys.stdin.buffer.read())
    config, params = Config.model_validate(asked["config"]), Params.model_validate(asked["params"])
    try:
        measured = expected_fps(config, params, float(sys.argv[1]))
    except HostError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    json.dump(measured, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
