//! The report of a run: as text, as comma-separated values, or as JSON.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::cpu::Usage;
use super::fairness::Fairness;
use super::mix::Mix;
use super::options::BenchOptions;
use super::percentiles::Percentiles;
use super::tally::Tally;
use crate::failure::Failure;

pub(super) struct Report<'a> {
    pub options: &'a BenchOptions,
    pub mix: Mix,
    pub tally: &'a Tally,
    /// Requests that were answered during the measurement.
    pub requests: u64,
    pub elapsed: Duration,
    pub cpu: Usage,
    /// The server's memory while all connections are open.
    pub server_rss_kb: Option<u64>,
    pub fairness: Option<Fairness>,
}

impl Report<'_> {
    /// The exit code: 3 for a lost connection, else 2 for `ERR`, else 1 for `NO` or an overtake, else 0.
    pub(super) fn exit_code(&self) -> u8 {
        let overtakes = self.fairness.as_ref().and_then(|fairness| fairness.overtakes).unwrap_or(0);
        match self.tally {
            Tally { lost: 1.., .. } => 3,
            Tally { errors: 1.., .. } => 2,
            Tally { refusals: 1.., .. } => 1,
            _ => (overtakes > 0).into(),
        }
    }

    pub(super) fn json(&self) -> Value {
        self.fields().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The header line and the line of this run.
    pub(super) fn csv(&self) -> [String; 2] {
        let (names, values): (Vec<_>, Vec<_>) = self.fields().into_iter().unzip();
        let word = |value: Value| match value {
            Value::Null => String::new(),
            Value::String(word) => word,
            number => number.to_string(),
        };
        [names.join(","), values.into_iter().map(word).collect::<Vec<_>>().join(",")]
    }

    /// The columns: the same for all runs of one command line. No value needs quoting.
    fn fields(&self) -> Vec<(&'static str, Value)> {
        let (options, tally) = (self.options, self.tally);
        let mut fields = vec![
            ("system", options.system.name().into()),
            ("mix", self.mix.name().into()),
            ("connections", options.connections.into()),
            ("pipeline", options.pipeline.into()),
            ("size", options.size.into()),
            ("mailboxes", options.mailboxes.into()),
            ("idle", options.idle.into()),
            ("rate", json!(options.rate())),
            ("seconds", rounded(self.elapsed.as_secs_f64(), 1e6)),
            ("requests", self.requests.into()),
            ("requests_per_second", rounded(self.per_second(), 1e1)),
            ("p50_us", rounded(tally.quantile_us(0.5), 1e3)),
            ("p90_us", rounded(tally.quantile_us(0.9), 1e3)),
            ("p99_us", rounded(tally.quantile_us(0.99), 1e3)),
            ("p999_us", rounded(tally.quantile_us(0.999), 1e3)),
            ("max_us", rounded(tally.quantile_us(1.0), 1e3)),
            ("server_cpu_us", self.per_request(self.cpu.times.server)),
            ("server_kernel_cpu_us", self.per_request(self.kernel())),
            ("own_cpu_us", self.per_request(self.cpu.times.own)),
            ("server_rss_kb", json!(self.server_rss_kb)),
            ("unsent", tally.unsent.into()),
            ("no", tally.refusals.into()),
            ("err", tally.errors.into()),
            ("lost", tally.lost.into()),
        ];
        if let Some(Fairness { jain, fewest, most, all, readers, writers, overtakes }) = &self.fairness {
            let seconds =
                |wait: Option<Duration>| wait.map_or(Value::Null, |wait| rounded(wait.as_secs_f64(), 1e6));
            fields.extend([
                ("jain", rounded(*jain, 1e6)),
                ("fewest", (*fewest).into()),
                ("most", (*most).into()),
                ("longest_wait_s", seconds(*all)),
                ("longest_read_s", seconds(*readers)),
                ("longest_write_s", seconds(*writers)),
                ("overtakes", json!(overtakes)),
            ]);
        }
        fields
    }

    /// Writes the latency distribution to the file of `--percentiles`, if given.
    pub(super) fn write_percentiles(&self) -> Result<(), Failure> {
        let Some(path) = &self.options.percentiles else { return Ok(()) };
        let text = Percentiles(&self.tally.latencies).to_string();
        fs::write(path, text).map_err(|error| Failure::local(&path.display().to_string(), error))
    }

    pub(super) fn text(&self) -> String {
        let &BenchOptions { system, connections, pipeline, size, mailboxes, idle, .. } = self.options;
        let tally = self.tally;
        let [p50, p90, p99, p999, max] =
            [0.5, 0.9, 0.99, 0.999, 1.0].map(|share| microseconds(tally.quantile_us(share)));
        let since = match self.options.rate() {
            Some(rate) => format!("from the scheduled time at {rate} requests/s, {} unsent,", tally.unsent),
            None => "round trip".to_owned(),
        };
        let mut text = format!(
            "{} {}: {:.0} requests/s\n  \
             setting   -c {connections} -P {pipeline} -d {size} --mailboxes {mailboxes} --idle {idle}\n  \
             requests  {} in {:.2} s; NO {}, ERR {}, connections lost {}\n  \
             latency   p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, max {max} µs; {since} of a batch\n  \
             CPU       server {}\n            bench  {}\n  memory    server {}\n",
            system.name(),
            self.mix.name(),
            self.per_second(),
            self.requests,
            self.elapsed.as_secs_f64(),
            tally.refusals,
            tally.errors,
            tally.lost,
            self.shown(self.cpu.times.server) + &self.shown_kernel(),
            self.shown(self.cpu.times.own),
            self.server_rss_kb.map_or("unknown: use --pid".to_owned(), |kb| format!("{kb} kB")),
        );
        if let Some(fairness) = &self.fairness {
            text.push_str(&fairness_text(fairness));
        }
        if let Some(failure) = &tally.first_failure {
            text.push_str(&format!("  failure   {failure}\n"));
        }
        text
    }

    fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The kernel's part of the server's CPU time, in ns.
    fn kernel(&self) -> Option<f64> {
        let times = &self.cpu.times;
        Some(times.server? * times.kernel_share()?)
    }

    fn shown_kernel(&self) -> String {
        let share = self.cpu.times.kernel_share().filter(|_| self.cpu.times.server.is_some());
        share.map_or(String::new(), |share| format!(", {:.0} % of it in the kernel", 100.0 * share))
    }

    /// CPU time per request, in µs.
    fn per_request(&self, cpu: Option<f64>) -> Value {
        let cpu = cpu.filter(|_| self.cpu.requests > 0);
        cpu.map_or(Value::Null, |ns| rounded(ns / 1000.0 / self.cpu.requests as f64, 1e3))
    }

    fn shown(&self, cpu: Option<f64>) -> String {
        cpu.map_or("unknown: use --pid".to_owned(), |ns| {
            let share = 100.0 * ns / self.cpu.elapsed.as_nanos() as f64;
            format!(
                "{:.3} µs per request, {share:.0} % of a processor",
                ns / 1000.0 / self.cpu.requests.max(1) as f64
            )
        })
    }
}

fn fairness_text(fairness: &Fairness) -> String {
    let wait = |wait: Option<Duration>| {
        wait.map_or("-".to_owned(), |wait| format!("{:.3} ms", wait.as_secs_f64() * 1000.0))
    };
    format!(
        "  fairness  Jain's index {:.4}; a client had {} to {} requests\n            \
         longest wait {}, of readers {}, of writers {}; overtakes {}\n",
        fairness.jain,
        fairness.fewest,
        fairness.most,
        wait(fairness.all),
        wait(fairness.readers),
        wait(fairness.writers),
        fairness.overtakes.map_or("unknown".to_owned(), |count| count.to_string()),
    )
}

fn microseconds(time: f64) -> String {
    if time < 100.0 { format!("{time:.1}") } else { format!("{time:.0}") }
}

/// Rounds to a multiple of 1 / `parts`.
fn rounded(number: f64, parts: f64) -> Value {
    ((number * parts).round() / parts).into()
}
