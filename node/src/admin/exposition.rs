//! The node's numbers as OpenMetrics text.
//!
//! One family a [`Stat`], one series a shard: `multibeam_<metric>{shard="0"}`; what only
//! grows is a counter and ends in `_total`. Behind them those of the cluster, `multibeam_cluster_<metric>`.

use crate::close::CloseReason;
use crate::cluster::{ClusterMetric, ClusterReadings};
use crate::metrics::ShardMetrics;
use multibeam_proto::{Stat, StatKind};
use multibeam_wire::Generation;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// What `/metrics` shows.
#[derive(Debug)]
pub struct Exposition(Registry);

impl Exposition {
    /// Numbers of `shards` by index, and of a node that started at `started_ms` since 1970.
    #[must_use]
    pub fn new(shards: Arc<[Arc<ShardMetrics>]>, generation: Generation, started_ms: u64) -> Self {
        let mut registry = Registry::with_prefix("multibeam");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that runs", build);
        registry.register(
            "generation",
            "The generation that messages are stored in",
            ConstGauge::new(generation.0),
        );
        registry.register(
            "start_time_seconds",
            "When the node started, in seconds since 1970",
            ConstGauge::new(started_ms as f64 / 1000.0),
        );
        registry.register_collector(Box::new(Shards(shards)));
        Self(registry)
    }

    /// The numbers of this moment; `cluster`: those that are not here, if the cluster has told them.
    #[must_use]
    pub fn text(&self, cluster: Option<ClusterReadings>) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let mut written = text::encode_registry(&mut out, &self.0);
        if let Some(readings) = cluster {
            let mut registry = Registry::with_prefix("multibeam_cluster");
            registry.register_collector(Box::new(InCluster(readings)));
            written = written.and_then(|()| text::encode_registry(&mut out, &registry));
        }
        let written = written.and_then(|()| text::encode_eof(&mut out));
        debug_assert!(written.is_ok());
        out
    }
}

const fn metric_type(kind: StatKind) -> MetricType {
    match kind {
        StatKind::Gauge => MetricType::Gauge,
        StatKind::Count | StatKind::Rare => MetricType::Counter,
    }
}

fn encode_number(kind: StatKind, number: u64, series: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match kind {
        StatKind::Gauge => ConstGauge::new(number).encode(series),
        StatKind::Count | StatKind::Rare => ConstCounter::new(number).encode(series),
    }
}

#[derive(Debug)]
struct InCluster(ClusterReadings);

impl Collector for InCluster {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in ClusterMetric::ALL {
            let help = metric.help.trim_end_matches('.');
            let kind = metric_type(metric.kind);
            let mut family = encoder.encode_descriptor(metric.metric, help, None, kind)?;
            let series = metric.read(&self.0);
            // One that is told apart from none has no label, not an empty set of them.
            if let [(None, value)] = series[..] {
                encode_number(metric.kind, value, family)?;
                continue;
            }
            for (label, value) in series {
                let labels: Vec<_> = label.into_iter().collect();
                encode_number(metric.kind, value, family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Shards(Arc<[Arc<ShardMetrics>]>);

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for &stat in Stat::ALL {
            self.encode_stat(&mut encoder, stat)?;
        }
        let help = "Connections closed, by reason";
        let mut family = encoder.encode_descriptor("closed_by_reason", help, None, MetricType::Counter)?;
        for &reason in CloseReason::ALL {
            let closed: u64 = self.0.iter().map(|shard| shard.closed(reason)).sum();
            ConstCounter::new(closed).encode(family.encode_family(&[("reason", reason.label())])?)?;
        }
        Ok(())
    }
}

impl Shards {
    fn encode_stat(&self, encoder: &mut DescriptorEncoder<'_>, stat: Stat) -> Result<(), fmt::Error> {
        let kind = metric_type(stat.kind());
        let help = stat.help().trim_end_matches('.');
        let mut family = encoder.encode_descriptor(stat.metric(), help, None, kind)?;
        for (index, shard) in self.0.iter().enumerate() {
            let labels = [("shard", index.to_string())];
            let series = family.encode_family(&labels)?;
            encode_number(stat.kind(), shard.load(stat), series)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multibeam_proto::Stats;

    #[test]
    fn each_shard_has_a_series_of_each_number() {
        let shards: Arc<[_]> = [ShardMetrics::new(), ShardMetrics::new()].into();
        let mut stats = Stats::default();
        stats.add(Stat::Accepted, 7);
        stats.set(Stat::Sessions, 3);
        let mut closed = vec![0; CloseReason::ALL.len()];
        closed[0] = 2;
        shards[0].publish(&stats, &closed);
        shards[1].publish(&stats, &closed);
        let text = Exposition::new(shards, Generation(5), 1_500).text(None);
        let reason = CloseReason::ALL[0].label();
        for line in [
            "multibeam_generation 5",
            "multibeam_start_time_seconds 1.5",
            "# TYPE multibeam_accepted counter",
            "multibeam_accepted_total{shard=\"0\"} 7",
            "multibeam_accepted_total{shard=\"1\"} 7",
            "# TYPE multibeam_sessions gauge",
            "multibeam_sessions{shard=\"1\"} 3",
            &format!("multibeam_closed_by_reason_total{{reason=\"{reason}\"}} 4"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn each_number_of_the_cluster_has_its_own_series() {
        let shards: Arc<[_]> = [ShardMetrics::new()].into();
        let text = Exposition::new(shards, Generation(5), 0).text(Some(ClusterReadings::example()));
        let expected = [
            "epoch 17",
            "members 3",
            "voters 5",
            "lease_ms 321",
            "leases_lost_total 2",
            "lease_wishes_total{answer=\"granted\"} 31",
            "lease_wishes_total{answer=\"refused\"} 6",
            "promises 8",
            "isolated 1",
            "times_isolated_total 1",
            "peers{contact=\"alive\"} 1",
            "peers{contact=\"degraded\"} 0",
            "peers{contact=\"silent\"} 1",
            "round_trip_us{peer=\"b\"} 250",
            "links{link=\"control_dialled\"} 2",
            "links{link=\"control_accepted\"} 3",
            "links{link=\"data_dialled\"} 1",
            "links{link=\"data_accepted\"} 0",
            "dials_total 12",
            "dials_failed_total 7",
            "tls_handshakes_total{kind=\"full\"} 14",
            "tls_handshakes_total{kind=\"resumed\"} 13",
            "peers_refused_total 4",
            "proposals_total 9",
            "records 210",
            "records_led 200",
            "records_offline 6",
            "role{role=\"leader\"} 1",
            "role{role=\"follower\"} 0",
            "role{role=\"candidate\"} 0",
            "role{role=\"learner\"} 0",
            "role{role=\"stopped\"} 0",
            "write_us_max 15",
            "term 8",
            "lag 11",
        ];
        let found: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("multibeam_cluster_")).collect();
        assert_eq!(found, expected);
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    }
}
