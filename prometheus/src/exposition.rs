//! The body of a scrape, in the format that the scraper accepts.

use std::fmt;

use prometheus_client::{
    encoding::{prometheus_text, text},
    registry::Registry,
};

/// Media type of OpenMetrics 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The response to a scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exposition {
    /// Value of the header `Content-Type`.
    pub content_type: &'static str,
    /// The metrics.
    pub body: String,
}

/// Encodes all metrics of a registry: as OpenMetrics if the `Accept` header of the scrape prefers
/// it, else in the Prometheus text format 0.0.4.
///
/// # Errors
///
/// A collector of the registry failed.
///
/// # Examples
///
/// ```
/// use prometheus_client::registry::Registry;
/// use wsplice_prometheus::encode;
///
/// let registry = Registry::default();
/// let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
/// assert!(encode(&registry, Some(accept))?.content_type.starts_with("application/openmetrics-text;"));
/// assert!(encode(&registry, None)?.content_type.starts_with("text/plain;"));
/// # Ok::<(), std::fmt::Error>(())
/// ```
pub fn encode(registry: &Registry, accept: Option<&str>) -> Result<Exposition, fmt::Error> {
    let mut body = String::new();
    if prefers_open_metrics(accept.unwrap_or_default()) {
        text::encode(&mut body, registry)?;
        let content_type = OPEN_METRICS;
        return Ok(Exposition { content_type, body });
    }
    prometheus_text::encode(&mut body, registry)?;
    let content_type = prometheus_text::CONTENT_TYPE;
    Ok(Exposition { content_type, body })
}

/// Whether OpenMetrics is asked for by its name, with a weight no lower than that of plain text
/// (RFC 9110 §12.4.2).
fn prefers_open_metrics(accept: &str) -> bool {
    let weight = |media_type: &str| {
        let ranges = accept.split(',').map(|range| range.trim().split(';'));
        let named = ranges.filter_map(|mut range| {
            let name = range.next()?.trim();
            name.eq_ignore_ascii_case(media_type)
                .then(|| quality(range))
        });
        named.fold(0.0, f32::max)
    };
    let open_metrics = weight("application/openmetrics-text");
    open_metrics > 0.0 && open_metrics >= weight("text/plain")
}

/// Returns the weight among the parameters of a media range; 1 without one, 0 if it is not valid.
fn quality<'a>(parameters: impl Iterator<Item = &'a str>) -> f32 {
    for parameter in parameters {
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("q")
        {
            let weight = value.trim().parse().unwrap_or(0.0_f32);
            return if weight.is_nan() { 0.0 } else { weight };
        }
    }
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_preferred_rfc9110_12_5_1() {
        for (accept, open_metrics) in [
            ("", false),
            ("*/*", false),
            ("text/html", false),
            ("text/plain", false),
            ("application/openmetrics-text", true),
            ("Application/OpenMetrics-Text; version=1.0.0", true),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=x", false),
            ("application/openmetrics-text;q=0.4,text/plain;q=0.5", false),
            (
                "text/plain;q=0.5 , application/openmetrics-text ; q=0.5",
                true,
            ),
            // Prometheus 2.42 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                true,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                true,
            ),
        ] {
            assert_eq!(prefers_open_metrics(accept), open_metrics, "{accept}");
        }
    }
}
