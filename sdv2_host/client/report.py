"""The status of an attachment. Pure but for what it reads."""

from __future__ import annotations

from dataclasses import replace

from sdv2_host.client.attachment import Attachment
from sdv2_host.client.host_link import HostLink
from sdv2_host.client.judgement import Judgement
from sdv2_host.client.status import Status
from sdv2_host.clock import NS_PER_S

_SPAN = "span_"
_MS = "_ms"


def status_of(at: Attachment, judgement: Judgement, now: int) -> Status:
    """All of it but what the courier itself knows: lost calls and faults."""
    output, ring = at.output, at.input
    status = Status(
        state=judgement.state,
        sentence=judgement.sentence,
        host=at.host,
        running=at.search.running,
        input_trouble=ring.trouble if ring is not None else "",
        output_size=output.size if output is not None else None,
        frames_sent=ring.frames if ring is not None else 0,
        frames_shown=output.num_fresh if output is not None else 0,
    )
    return status if at.link is None else _with_host(status, at.link, now)


def _with_host(status: Status, link: HostLink, now: int) -> Status:
    told, file = link.told, link.file
    metrics = dict(told.metrics)
    spans_ms = {
        name.removeprefix(_SPAN).removesuffix(_MS): value
        for name, value in metrics.items()
        if name.startswith(_SPAN) and name.endswith(_MS)
    }
    heartbeat_age_s = (now - link.heartbeat_ns) / NS_PER_S if link.heartbeat_ns else None
    return replace(
        status,
        version=link.version,
        pid=file.pid,
        port=file.port,
        page_url=file.page_url,
        detail=told.text("detail"),
        problem=told.text("problem"),
        fps=metrics.get("fps", 0.0),
        latency_ms=metrics.get("latency_ms", 0.0),
        latency_p95_ms=metrics.get("latency_p95_ms", 0.0),
        dropped=round(metrics.get("dropped", 0.0)),
        spans_ms=spans_ms,
        metrics=metrics,
        facts=dict(told.facts),
        delay_frames=told.delay_frames or None,
        heartbeat_age_s=heartbeat_age_s,
        complaints=tuple(told.complaints),
    )
