"""The ring benchmark measures what it says and its results are JSON."""

from __future__ import annotations

import json
from pathlib import Path

from sdv2_host.bench import ring
from sdv2_host.types import Size


def test_every_part_runs_and_the_table_shows_it(run_dir: Path) -> None:
    size = Size(48, 32)
    copies = ring.measure_copies(size, 0.05, run_dir)
    readers = ring.measure_readers(size, 0.3, run_dir)
    lapped = ring.measure_lapped(Size(1024, 1024), 0.5, run_dir)
    results = {
        "machine": ring.machine(),
        "sizes": [copies],
        "readers": readers,
        "lapped": lapped,
    }

    table = ring.format_table(json.loads(json.dumps(results, allow_nan=False)))

    assert "48x32" in table
    assert copies["bytes"] == 48 * 32 * 4
    assert copies["frames"] >= ring.MIN_FRAMES
    assert copies["write_ms"]["p50"] > 0
    assert copies["read_ms"]["p50"] > 0
    assert [reader["torn"] for reader in readers["readers"]] == [0, 0]
    assert all(reader["frames"] > 0 for reader in readers["readers"])
    assert lapped["published"] > lapped["frames"] > 0
    assert lapped["torn"] == 0
    assert list(run_dir.iterdir()) == []


def test_a_frame_of_two_frames_is_seen_as_torn() -> None:
    whole = ring.pattern_frame(7, Size(8, 8))
    torn = ring.pattern_frame(7, Size(8, 8))
    torn.pixels[-1, -1, -1] = 8

    assert ring.is_whole(whole)
    assert not ring.is_whole(torn)
