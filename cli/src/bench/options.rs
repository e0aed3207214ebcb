//! The options of `bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::ArgPredicate;

use super::mix::Mix;
use super::systems::{SIZE_MAX, System};
use crate::failure::Failure;
use crate::options::seconds;

/// Maximum size of a batch, in bytes.
const BATCH_MAX: usize = 64 << 20;
const CONNECTIONS_MAX: usize = 200_000;
const REQUESTS_MAX: u64 = 1_000_000_000_000;
const RATE_MAX: f64 = 1e8;
const HOUR: Duration = Duration::from_secs(3600);

/// Default durations of the measurement and of the warm-up. With `-n` there is no warm-up by default.
const PERIOD: Duration = Duration::from_secs(5);
const WARMUP: Duration = Duration::from_secs(1);

#[derive(Args, Clone, Debug)]
pub(crate) struct BenchOptions {
    /// The server's protocol; mailbox N is the key box:N of redis and memcached, or with put-take the list
    /// list:N of redis
    #[arg(long, value_enum, default_value = "dipc")]
    pub system: System,

    /// Number of connections that send requests
    #[arg(short, long, value_name = "N", default_value_t = 50, value_parser = within::<1, CONNECTIONS_MAX>)]
    pub connections: usize,

    /// Number of requests in a batch, which is sent in one write
    #[arg(short = 'P', long, value_name = "N", default_value_t = 1, value_parser = within::<1, 10_000>)]
    pub pipeline: usize,

    /// Bytes of data in a message
    #[arg(short = 'd', long, value_name = "BYTES", default_value_t = 100,
          value_parser = within::<0, SIZE_MAX>)]
    pub size: usize,

    /// The requests; several mixes are measured one after the other; with --fairness the default is rw50
    #[arg(
        short = 't',
        long,
        value_name = "MIX[,MIX..]",
        value_enum,
        value_delimiter = ',',
        default_value = "r",
        default_value_if("fairness", ArgPredicate::IsPresent, "rw50")
    )]
    pub mix: Vec<Mix>,

    /// Number of mailboxes to use, 0 to N-1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = within::<1, 100_000>)]
    pub mailboxes: usize,

    /// Use mailboxes that hold messages, and overwrite them
    #[arg(long)]
    pub overwrite: bool,

    /// Measure N requests
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "seconds",
          value_parser = clap::value_parser!(u64).range(1..=REQUESTS_MAX))]
    pub requests: Option<u64>,

    /// Measure for S seconds [default: 5]
    #[arg(long, value_name = "S", value_parser = period)]
    seconds: Option<Duration>,

    /// Seconds of load before the measurement [default: 1, or 0 with -n]
    #[arg(long, value_name = "S", value_parser = warmup)]
    warmup: Option<Duration>,

    /// Send on a fixed schedule: N requests per second of all connections together; latency counts from the
    /// scheduled time
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// Measure fairness: each connection only reads or only writes, all in one mailbox
    #[arg(long, conflicts_with = "mailboxes")]
    pub fairness: bool,

    /// Number of additional connections, which send one ping and then stay idle
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = within::<0, CONNECTIONS_MAX>)]
    pub idle: usize,

    /// The server's process id, to measure CPU time and memory [default: from stat of a dipc, if it is on
    /// this machine]
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,

    /// Write the latency distribution to FILE, as HdrHistogram's percentile text (.hgrm), in ms
    #[arg(long, value_name = "FILE")]
    pub percentiles: Option<PathBuf>,

    /// Print comma-separated values, with a header line
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

impl BenchOptions {
    /// Duration of the measurement. None: until all requests are answered.
    pub(crate) fn period(&self) -> Option<Duration> {
        self.requests.is_none().then_some(self.seconds.unwrap_or(PERIOD))
    }

    pub(crate) fn warmup(&self) -> Duration {
        self.warmup.unwrap_or(if self.requests.is_some() { Duration::ZERO } else { WARMUP })
    }

    /// Batches per second.
    pub(crate) fn batch_rate(&self) -> Option<f64> {
        self.rate.map(|rate| rate / self.pipeline as f64)
    }

    pub(crate) fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Checks that the options can be used together.
    pub(crate) fn validate(&self) -> Result<(), Failure> {
        if self.pipeline * self.size > BATCH_MAX {
            return Err(Failure::Usage(format!("a batch of more than {BATCH_MAX} bytes: lower -P or -d")));
        }
        if self.percentiles.is_some() && self.mix.len() > 1 {
            return Err(Failure::Usage("--percentiles writes one file: use one mix".to_owned()));
        }
        let unknown = |mix: &&Mix| mix.kinds().iter().any(|kind| self.system.head(*kind, 0, 0).is_none());
        let Some(mix) = self.mix.iter().find(unknown) else { return Ok(()) };
        Err(Failure::Usage(format!("{} has no equivalent of -t {}", self.system.name(), mix.name())))
    }
}

fn within<const MIN: usize, const MAX: usize>(word: &str) -> Result<usize, String> {
    let number = word.parse().ok().filter(|number| (MIN..=MAX).contains(number));
    number.ok_or(format!("not a number from {MIN} to {MAX}"))
}

fn period(word: &str) -> Result<Duration, String> {
    let period = warmup(word)?;
    if period.is_zero() { Err("must be more than 0 seconds".to_owned()) } else { Ok(period) }
}

fn warmup(word: &str) -> Result<Duration, String> {
    let period = seconds(word)?;
    if period > HOUR { Err(format!("at most {} seconds", HOUR.as_secs())) } else { Ok(period) }
}

fn rate(word: &str) -> Result<f64, String> {
    let rate = word.parse().ok().filter(|rate| (0.001..=RATE_MAX).contains(rate));
    rate.ok_or(format!("not a number from 0.001 to {RATE_MAX}"))
}
