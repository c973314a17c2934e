"""Spans of real waits and holds, by the SDK's own exporter."""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from etcd_recipes import Client
from etcd_recipes.contrib.opentelemetry import Tracing
from tests.tools import eventually


def test_waits_and_holds_are_spans_of_the_callers_trace(
    client: Client, other: Client, name: str
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def spans() -> dict[tuple[str, str | None], object]:
        return {
            (s.name.removeprefix("etcd_recipes."), s.attributes.get("etcd_recipes.outcome")): s
            for s in exporter.get_finished_spans()
            if s.name.startswith("etcd_recipes.")
        }

    tracer = provider.get_tracer("test")
    with Tracing(provider):
        with tracer.start_as_current_span("job") as job, client.lock(name) as hold:
            assert other.lock(name).acquire(blocking=False) is None
            assert other.lock(name).acquire(timeout=0.05) is None
        term = client.election(name).campaign()
        term.session.lose("as if it had expired")
        eventually(lambda: ("hold", "lost") in spans())
        kept = client.lock(f"{name}-kept").acquire()
    found = spans()
    assert set(found) == {
        ("acquire", "admitted"),
        ("acquire", "busy"),
        ("acquire", "DeadlineExceeded"),
        ("campaign", "admitted"),
        ("hold", "released"),
        ("hold", "lost"),
        ("hold", None),  # held to the end of the tracing
    }
    held, late = found["hold", "released"], found["acquire", "DeadlineExceeded"]
    assert held.parent.span_id == late.parent.span_id == job.get_span_context().span_id
    assert dict(held.attributes) == {
        "etcd_recipes.name": name,
        "etcd_recipes.kind": "Hold",
        "etcd_recipes.key": hold.key,
        "etcd_recipes.token": hold.token,
        "etcd_recipes.outcome": "released",
    }
    assert found["campaign", "admitted"].attributes["etcd_recipes.token"] == term.token
    assert late.end_time - late.start_time >= 0.05e9
    failed = {key for key, span in found.items() if span.status.status_code is StatusCode.ERROR}
    assert failed == {("acquire", "DeadlineExceeded"), ("hold", "lost")}
    count = len(exporter.get_finished_spans())
    assert kept.release()
    with client.lock(name):
        pass
    assert len(exporter.get_finished_spans()) == count  # closed
