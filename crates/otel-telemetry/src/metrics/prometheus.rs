//! Metrics as text for Prometheus: exposition format 0.0.4, names as OpenTelemetry's
//! compatibility rules make them (dots to underscores, the unit and `_total` at the end), so that
//! a scrape and a collector give the same series.

use std::fmt::{Display, Write as _};

use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, Histogram, Metric, MetricData, ResourceMetrics,
};

/// The whole text.
pub(crate) fn text(metrics: &ResourceMetrics) -> String {
    let mut text = String::with_capacity(16 * 1024);
    let mut all: Vec<&Metric> = metrics
        .scope_metrics()
        .flat_map(opentelemetry_sdk::metrics::data::ScopeMetrics::metrics)
        .collect();
    all.sort_by(|a, b| a.name().cmp(b.name()));
    for metric in all {
        match metric.data() {
            AggregatedMetrics::F64(data) => write(&mut text, metric, data),
            AggregatedMetrics::U64(data) => write(&mut text, metric, data),
            AggregatedMetrics::I64(data) => write(&mut text, metric, data),
        }
    }
    text
}

/// The name of a series.
pub(crate) fn series_name(name: &str, unit: &str, total: bool) -> String {
    let mut series = name.replace('.', "_");
    let unit = match unit {
        "s" => "_seconds",
        "By" => "_bytes",
        // What is counted, in braces, is a note and no unit.
        _ => "",
    };
    if !series.ends_with(unit) {
        series.push_str(unit);
    }
    if total {
        series.push_str("_total");
    }
    series
}

fn write<T: Display + Copy>(text: &mut String, metric: &Metric, data: &MetricData<T>) {
    let (sort, total) = match data {
        MetricData::Sum(sum) if sum.is_monotonic() => ("counter", true),
        MetricData::Gauge(_) | MetricData::Sum(_) => ("gauge", false),
        MetricData::Histogram(_) => ("histogram", false),
        // Nobody makes one.
        MetricData::ExponentialHistogram(_) => return,
    };
    let name = series_name(metric.name(), metric.unit(), total);
    let _infallible = write!(
        text,
        "# HELP {name} {}\n# TYPE {name} {sort}\n",
        metric.description()
    );
    match data {
        MetricData::Gauge(gauge) => {
            for point in gauge.data_points() {
                line(text, &name, point.attributes(), None, point.value());
            }
        }
        MetricData::Sum(sum) => {
            for point in sum.data_points() {
                line(text, &name, point.attributes(), None, point.value());
            }
        }
        MetricData::Histogram(data) => histogram(text, &name, data),
        MetricData::ExponentialHistogram(_) => {}
    }
}

fn histogram<T: Display + Copy>(text: &mut String, name: &str, data: &Histogram<T>) {
    for point in data.data_points() {
        let bounds = point.bounds().map(|bound| bound.to_string());
        let bounds = bounds.chain(["+Inf".to_owned()]);
        let mut count = 0;
        for (bound, more) in bounds.zip(point.bucket_counts()) {
            count += more;
            let series = format!("{name}_bucket");
            line(text, &series, point.attributes(), Some(&bound), count);
        }
        line(
            text,
            &format!("{name}_sum"),
            point.attributes(),
            None,
            point.sum(),
        );
        line(
            text,
            &format!("{name}_count"),
            point.attributes(),
            None,
            point.count(),
        );
    }
}

fn line<'a>(
    text: &mut String,
    name: &str,
    labels: impl Iterator<Item = &'a KeyValue>,
    bound: Option<&str>,
    value: impl Display,
) {
    text.push_str(name);
    let mut before = '{';
    for label in labels {
        let key = label.key.as_str().replace('.', "_");
        let _infallible = write!(text, "{before}{key}=\"");
        match &label.value {
            Value::String(value) => escape(text, value.as_str()),
            other => escape(text, &other.to_string()),
        }
        text.push('"');
        before = ',';
    }
    if let Some(bound) = bound {
        let _infallible = write!(text, "{before}le=\"{bound}\"");
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    let _infallible = writeln!(text, " {value}");
}

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_named_as_a_collector_names_it() {
        for (name, unit, total, series) in [
            (
                "http.server.request.duration",
                "s",
                false,
                "http_server_request_duration_seconds",
            ),
            (
                "process.cpu.time",
                "s",
                true,
                "process_cpu_time_seconds_total",
            ),
            (
                "process.memory.usage",
                "By",
                false,
                "process_memory_usage_bytes",
            ),
            (
                "acolhe.cache.lookups",
                "{lookup}",
                true,
                "acolhe_cache_lookups_total",
            ),
        ] {
            assert_eq!(series_name(name, unit, total), series);
        }
    }
}
