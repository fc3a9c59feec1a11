"""Counters of a live home agent for Prometheus, on a loopback address (the extra ``metrics``)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowclass.errors import FlowclassError

from .answers import Service, flow_counters

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["MetricsServer"]


class _Collector:
    """Collects the counters of the agent when they are requested; in between it does nothing."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        def counter(name: str, what: str, labels: list[str], rows: list[tuple[list[str], float]]) -> Metric:
            family = CounterMetricFamily(f"flowclass_{name}", what, labels=labels)
            for values, value in rows:
                family.add_metric(values, value)
            return family

        service = self._service
        forwarding = service.forwarder.counters()
        for unit in ("packets", "octets"):
            rows = [([kind], float(value)) for kind, value in forwarding[unit].items()]
            yield counter(unit, f"{unit.capitalize()} by what became of them.", ["decision"], rows)
        drops = [([reason], float(value)) for reason, value in forwarding["drops"].items()]
        yield counter("drops", "Packets dropped, by reason.", ["reason"], drops)
        flows = flow_counters(service)
        for unit in ("packets", "octets"):
            rows = [
                ([row["home_address"], row["kind"], "" if row["fid"] is None else str(row["fid"])], float(row[unit]))
                for row in flows
            ]
            yield counter(f"flow_{unit}", f"{unit.capitalize()} by node and flow.", ["home", "kind", "fid"], rows)
        counters = service.agent.counters
        for name, counts in (("updates", counters.updates), ("bids", counters.bids), ("flow_options", counters.flows)):
            rows = [([str(status)], float(count)) for status, count in enumerate(list(counts)) if count]
            yield counter(name, f"Answers about {name.replace('_', ' ')}, by status.", ["status"], rows)
        ignored = dict(counters.ignored) | dict(service.ignored)
        yield counter("ignored", "Messages without an answer, by reason.", ["reason"],
                      [([reason], float(count)) for reason, count in ignored.items()])  # fmt: skip
        yield GaugeMetricFamily("flowclass_nodes", "Mobile nodes with a binding.", value=len(service.agent.cache))
        uptime = time.monotonic() - service.started
        yield GaugeMetricFamily("flowclass_uptime_seconds", "Since the agent was started.", value=uptime)
        yield self._latency(HistogramMetricFamily)

    def _latency(self, family: Any) -> Metric:
        found = self._service.latencies.as_dict()
        total, buckets = 0, []
        for bound, count in found["buckets"].items():
            total += count
            buckets.append(("+Inf" if bound == "inf" else bound, total))
        made: Metric = family(
            "flowclass_update_seconds", "From an update's arrival to its answer, the store's commit included.",
            buckets=buckets, sum_value=found["sum"],
        )  # fmt: skip
        return made


class MetricsServer:
    """Serves ``/metrics`` in a thread of its own."""

    def __init__(self, service: Service, address: str, port: int) -> None:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError:
            raise FlowclassError(
                "metrics: prometheus-client is not installed: pip install 'flowclass[metrics]'"
            ) from None
        registry = CollectorRegistry()
        registry.register(_Collector(service))
        try:
            self._server, self._thread = start_http_server(port, address, registry)
        except OSError as error:
            raise FlowclassError(f"metrics: {address} port {port}: {error.strerror}") from None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
