//! Prints a latency distribution in the percentile format of HdrHistogram (.hgrm), which its plotter and wrk2
//! use.

use std::fmt::{self, Display, Formatter};

use hdrhistogram::Histogram;

/// Number of lines for each interval of quantiles. Each interval is half of the remaining distance to 1: 0 to
/// 0.5, 0.5 to 0.75, and so on.
const LINES_PER_INTERVAL: u32 = 5;

/// Latencies are recorded in ns and printed in ms, which the plotter expects.
const NS_PER_MS: f64 = 1e6;

/// A distribution of latencies, in ns.
pub(super) struct Percentiles<'a>(pub &'a Histogram<u64>);

impl Display for Percentiles<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let latencies = self.0;
        writeln!(
            f,
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        )?;
        let mut count = 0;
        for step in latencies.iter_quantiles(LINES_PER_INTERVAL) {
            count += step.count_since_last_iteration();
            let (value, quantile) =
                (step.value_iterated_to() as f64 / NS_PER_MS, step.quantile_iterated_to());
            write!(f, "{value:12.3} {quantile:14.12} {count:10}")?;
            match quantile {
                // Omits the fourth column of the last line, which would be infinite.
                1.0 => writeln!(f)?,
                _ => writeln!(f, " {:14.2}", 1.0 / (1.0 - quantile))?,
            }
        }
        let (mean, deviation) = (latencies.mean() / NS_PER_MS, latencies.stdev() / NS_PER_MS);
        let (max, buckets) = (latencies.max() as f64 / NS_PER_MS, latencies.buckets());
        writeln!(f, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
        writeln!(f, "#[Max     = {max:12.3}, Total count    = {:12}]", latencies.len())?;
        // A bucket of the histogram has 2 × 10^digits parts, rounded up to a power of 2.
        let parts = 2 * 10_u64.pow(latencies.sigfig().into());
        writeln!(f, "#[Buckets = {buckets:12}, SubBuckets     = {:12}]", parts.next_power_of_two())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_quantile_0_5_has_the_median() {
        let mut latencies = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("bounds");
        (1..=1000_u64).for_each(|value| latencies.record(value * 1_000_000).expect("within the bounds"));
        let text = Percentiles(&latencies).to_string();
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().expect("a number")).collect())
            .collect();
        let median = rows.iter().find(|row| row[1] == 0.5).expect("a line for 0.5");
        assert!((median[0] - 500.0).abs() < 1.0 && (median[2] - 500.0).abs() < 1.0, "{median:?}");
        assert_eq!(median[3], 2.0);
        let last = rows.last().expect("a last line");
        assert_eq!((last[1], last[2], last.len()), (1.0, 1000.0, 3));
        assert!(
            text.ends_with(
                "Total count    =         1000]\n#[Buckets =           32, SubBuckets     =         2048]\n"
            ),
            "{text}"
        );
    }
}
