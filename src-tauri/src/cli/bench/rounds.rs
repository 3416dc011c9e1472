//! Rounds: the limit and ours in turns, so that a slow minute of the machine hits both.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::{BenchError, Common};

/// What one half of a round gave.
#[derive(Default, Clone)]
pub struct Sample {
    /// Per second.
    pub rate: f64,
    /// Of the single operation, in milliseconds, sorted.
    pub latencies_ms: Vec<f64>,
}

impl Sample {
    pub fn of(count: u64, elapsed: Duration, mut latencies_ms: Vec<f64>) -> Sample {
        latencies_ms.sort_by(f64::total_cmp);
        Sample {
            rate: count as f64 / elapsed.as_secs_f64(),
            latencies_ms,
        }
    }

    pub fn percentile(&self, p: f64) -> f64 {
        let last = self.latencies_ms.len().saturating_sub(1);
        self.latencies_ms
            .get((last as f64 * p).round() as usize)
            .copied()
            .unwrap_or(f64::NAN)
    }
}

/// One line of a report.
pub struct Figure {
    pub bench: &'static str,
    pub case: String,
    pub value: f64,
    pub unit: &'static str,
    pub limit: Option<f64>,
    /// More than the line needs: percentiles, memory, rounds.
    pub more: Map<String, Value>,
}

impl Figure {
    pub fn new(
        bench: &'static str,
        case: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Figure {
        Figure {
            bench,
            case: case.into(),
            value,
            unit,
            limit: None,
            more: Map::new(),
        }
    }

    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Figure {
        self.more.insert(key.to_owned(), value.into());
        self
    }

    pub fn ratio(&self) -> Option<f64> {
        self.limit.map(|l| self.value / l)
    }

    pub fn json(&self) -> Value {
        let mut line = json!({ "bench": self.bench, "case": self.case, "value": rounded(self.value), "unit": self.unit });
        if let Some(limit) = self.limit {
            line["limit"] = rounded(limit);
            line["ratio"] = self.ratio().map_or(Value::Null, rounded);
        }
        if let Value::Object(line) = &mut line {
            line.extend(self.more.clone());
        }
        line
    }
}

/// Three digits are more than a shared machine can repeat.
pub fn rounded(x: f64) -> Value {
    let digits = if x.abs() >= 100.0 { 0 } else { 3 };
    let factor = 10_f64.powi(digits);
    json!((x * factor).round() / factor)
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{} {}", self.bench, self.case);
        write!(f, "{name:<28} {:>10} {}", rounded(self.value), self.unit)?;
        if let (Some(limit), Some(ratio)) = (self.limit, self.ratio()) {
            write!(f, ", {ratio:.2} of the limit {}", rounded(limit))?;
        }
        for (key, value) in &self.more {
            write!(f, ", {key} {value}")?;
        }
        Ok(())
    }
}

/// Somebody who does the measured thing again and again.
pub trait Writer: Send + 'static {
    /// Does it once and says how many of the unit that were.
    fn write(&mut self) -> impl Future<Output = Result<u64, BenchError>> + Send;
}

/// All writers at once for this long.
pub async fn drive<W: Writer>(
    writers: &mut Vec<W>,
    lasting: Duration,
) -> Result<Sample, BenchError> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut writer in writers.drain(..) {
        tasks.spawn(async move {
            let (mut count, mut latencies) = (0, Vec::with_capacity(4_096));
            let mut last = began.elapsed();
            while last < lasting {
                count += writer.write().await?;
                let now = began.elapsed();
                latencies.push((now - last).as_secs_f64() * 1_000.0);
                last = now;
            }
            Ok::<_, BenchError>((writer, count, latencies))
        });
    }
    let (mut count, mut latencies) = (0, vec![]);
    while let Some(ended) = tasks.join_next().await {
        let (writer, c, l) = ended??;
        writers.push(writer);
        count += c;
        latencies.extend(l);
    }
    Ok(Sample::of(count, began.elapsed(), latencies))
}

/// One uncounted round, then `--rounds` of them with the limit and ours, taking turns at being first. Medians of each,
/// and the percentiles of ours.
pub async fn compare(
    common: &Common,
    bench: &'static str,
    case: &str,
    unit: &'static str,
    mut limit: impl AsyncFnMut() -> Result<Sample, BenchError>,
    mut ours: impl AsyncFnMut() -> Result<Sample, BenchError>,
) -> Result<Figure, BenchError> {
    let (mut limits, mut values, mut ratios, mut latencies) = (vec![], vec![], vec![], vec![]);
    for round in 0..=common.rounds {
        let (l, o) = if round % 2 == 0 {
            let l = limit().await?;
            (l, ours().await?)
        } else {
            let o = ours().await?;
            (limit().await?, o)
        };
        if round == 0 {
            continue;
        }
        ratios.push(rounded(o.rate / l.rate));
        limits.push(l.rate);
        values.push(o.rate);
        latencies.extend(o.latencies_ms);
    }
    let all = Sample::of(0, Duration::from_secs(1), latencies);
    let mut figure = Figure::new(bench, case, median(values), unit);
    figure.limit = Some(median(limits));
    if !all.latencies_ms.is_empty() {
        figure = figure
            .with("p50_ms", rounded(all.percentile(0.5)))
            .with("p99_ms", rounded(all.percentile(0.99)));
    }
    Ok(figure.with("ratios", ratios))
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_value_limit_and_ratio() {
        let mut figure =
            Figure::new("append", "single-8", 4_000.4, "events/s").with("p50_ms", 1.25);
        figure.limit = Some(5_000.0);
        assert_eq!(
            figure.json(),
            json!({ "bench": "append", "case": "single-8", "value": 4000.0, "unit": "events/s", "limit": 5000.0, "ratio": 0.8, "p50_ms": 1.25 })
        );
    }

    #[test]
    fn percentiles_stand_where_the_sorted_values_say() {
        let sample = Sample::of(
            100,
            Duration::from_secs(2),
            (1..=101).rev().map(f64::from).collect(),
        );
        assert_eq!(
            (sample.rate, sample.percentile(0.5), sample.percentile(0.99)),
            (50.0, 51.0, 100.0)
        );
        assert_eq!(median(vec![3.0, 1.0, 2.0, 10.0]), 2.5);
    }
}
