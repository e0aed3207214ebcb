//! The options of `dipc` and `dipcrm`, from the command line and the environment.

mod check;

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{BoolishValueParser, Resettable};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueEnum};
use nix::unistd::{SysconfVar, sysconf};

use crate::mailboxes::{CAPACITY_MAX, Geometry};
use crate::workers::{INLINE_BUDGET, OUTPUT_HIGH_WATER};

/// Bytes of a MB in the options.
const MB: u64 = 1024 * 1024;

/// Largest packet size in kB: 1 GiB.
const PACKET_KB_MAX: u64 = 1024 * 1024;

/// The default of `--spin`, in microseconds.
const SPIN_US: u32 = 30;

/// The default of `--inline-kb`.
const INLINE_KB: u32 = (INLINE_BUDGET / 1024) as u32;

/// Largest `--client-memory` in MB: 1 PiB.
const CLIENT_MEMORY_MB_MAX: u64 = 1 << 30;

/// Part of the machine's memory that is the default of `--client-memory`.
const CLIENT_MEMORY_SHARE: u64 = 8;

/// Longest `--max-hold`: 100 years.
const HOLD_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Starts a server of shared-memory mailboxes in the background, and returns when clients can connect
#[derive(Clone, Debug, Parser)]
#[command(
    name = "dipc",
    version,
    disable_help_flag = true,
    override_usage = "dipc [OPTIONS] [MAILBOXES SIZE_KB PORT [PACKET_KB]]",
    after_help = "Examples:\n  dipc                     64 mailboxes of 64 kB on port 5000\n  \
                  dipc 4 64 5000 8         4 mailboxes of 64 kB on port 5000, requests of at most 8 kB\n  \
                  telnet localhost 5000\n  \
                  dipc --takeover          a new version of dipc replaces the running one\n  \
                  dipcrm 5000              stops the server and deletes all data\n\n\
                  Exit codes: 0 started or stopped, 1 cannot run, 2 usage, 3 port or instance in use, \
                  4 existing data or the running server has a different size, address or format."
)]
pub struct ServerOptions {
    /// Number of mailboxes
    #[arg(default_value_t = 64, requires = "size_kb", value_parser = clap::value_parser!(u32).range(1..))]
    pub mailboxes: u32,

    /// Size of each mailbox in kB (1024 bytes)
    #[arg(default_value_t = 64, requires = "port",
          value_parser = clap::value_parser!(u64).range(1..=CAPACITY_MAX / 1024))]
    pub size_kb: u64,

    /// TCP port, and name of the directory of the data; 0 takes any free port and prints its number
    #[arg(default_value_t = 5000)]
    pub port: u16,

    /// Maximum data of one request, in kB [default: SIZE_KB]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=PACKET_KB_MAX))]
    packet_kb: Option<u64>,

    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR", env = "DIPC_BIND", hide_env_values = true)]
    bind: Option<IpAddr>,

    /// Allow clients on other machines; required with a --bind that is not loopback
    #[arg(long, env = "DIPC_OPEN", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub open: bool,

    /// Allow a port below 1024 beside a number that is more likely the port
    #[arg(long, env = "DIPC_LOW_PORT", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub low_port: bool,

    /// Also listen on this Unix-domain socket
    #[arg(long, value_name = "PATH", env = "DIPC_UNIX", hide_env_values = true)]
    pub unix: Option<PathBuf>,

    /// Listen on no TCP port, only on the socket of --unix; PORT names the directory of the data
    #[arg(long, env = "DIPC_NO_TCP", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub no_tcp: bool,

    /// Also serve clients that send bare datagrams on this port: TCP, and on loopback UDP; may be PORT itself
    #[arg(long, value_name = "PORT2", env = "DIPC_CLASSIC", hide_env_values = true)]
    pub classic: Option<u16>,

    /// Number of worker threads [default: number of processors]
    #[arg(long, value_name = "N", env = "DIPC_WORKERS", hide_env_values = true,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,

    /// Default wait in seconds for requests without `wait=`
    #[arg(long, value_name = "S", env = "DIPC_WAIT", hide_env_values = true, default_value = "30",
          value_parser = seconds)]
    pub wait: Duration,

    /// Longest time that a client can hold a lock, in seconds; at most 100 years
    #[arg(long, value_name = "S", env = "DIPC_MAX_HOLD", hide_env_values = true, default_value = "600",
          value_parser = hold)]
    max_hold: Duration,

    /// Maximum number of clients; limited to the descriptor limit minus 32
    #[arg(long, value_name = "N", env = "DIPC_MAX_CLIENTS", hide_env_values = true, default_value = "10000",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_clients: u32,

    /// Limit of the memory that clients can make the server use, in MB [default: an eighth of the machine's
    /// memory]
    #[arg(long, value_name = "MB", env = "DIPC_CLIENT_MEMORY", hide_env_values = true,
          value_parser = clap::value_parser!(u64).range(1..=CLIENT_MEMORY_MB_MAX))]
    pub client_memory: Option<u64>,

    /// Silence in milliseconds after which a request is complete without an end of line; 0 turns this off
    #[arg(long, value_name = "N", env = "DIPC_QUIET_MS", hide_env_values = true, default_value = "200",
          value_parser = clap::value_parser!(u32).range(..=60_000))]
    pub quiet_ms: u32,

    /// Longest time in microseconds that the server polls without sleeping when it has answered all requests;
    /// 0 saves processor time, and makes the next answer later
    #[arg(long, value_name = "US", env = "DIPC_SPIN", hide_env_values = true, default_value_t = SPIN_US,
          value_parser = clap::value_parser!(u32).range(..=1000))]
    pub spin: u32,

    /// Work that the thread of the sockets does itself before it looks for new events, as kB that could be
    /// copied in this time; the workers do the rest, and all with 0
    #[arg(long, value_name = "N", env = "DIPC_INLINE_KB", hide_env_values = true, default_value_t = INLINE_KB,
          value_parser = clap::value_parser!(u32).range(..=64 * 1024))]
    pub inline_kb: u32,

    /// Name mailboxes: a file with lines BOX NAME; added to names of an earlier start
    #[arg(long, value_name = "FILE", env = "DIPC_NAMES", hide_env_values = true)]
    pub names: Option<PathBuf>,

    /// Keep data in D/PORT instead of /dev/shm/dipc-UID/PORT
    #[arg(long, value_name = "D", env = "DIPC_DIR", hide_env_values = true)]
    pub dir: Option<PathBuf>,

    /// Delete existing data of an earlier server on this port
    #[arg(long, env = "DIPC_FRESH", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub fresh: bool,

    /// Take the mailboxes of an earlier server on this port over into ones of another number or size
    #[arg(long, env = "DIPC_RESIZE", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub resize: bool,

    /// Take over from the server that runs on this port, without a refused connection: an upgrade in place;
    /// needs the same numbers and addresses
    #[arg(long, env = "DIPC_TAKEOVER", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub takeover: bool,

    /// Run in the foreground
    #[arg(long, env = "DIPC_FOREGROUND", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub foreground: bool,

    /// Log to this file [default: stderr with --foreground, else no log]; SIGHUP reopens the file
    #[arg(long, value_name = "F", env = "DIPC_LOG_FILE", hide_env_values = true)]
    pub log_file: Option<PathBuf>,

    /// Log level
    #[arg(long, value_name = "L", env = "DIPC_LOG_LEVEL", hide_env_values = true, default_value = "info")]
    pub log_level: LogLevel,

    /// Print this help
    #[arg(short, long, action = ArgAction::HelpShort)]
    help: Option<bool>,
}

/// Stops the dipc server on a port and deletes all its data, or with --keep only stops it
#[derive(Clone, Debug, Parser)]
#[command(
    name = "dipcrm",
    version,
    after_help = "Examples:\n  dipcrm 5000\n  dipcrm --keep 5000\n  dipcrm 5000 --dir /run/dipc\n\n\
                  Exit codes: 0 removed, or stopped with --keep; 1 no server or data found, 2 usage, \
                  3 refused, or a server may be left."
)]
pub struct RemoveOptions {
    /// Port that dipc was started with
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Only stop the server: keep its data for the next start on this port
    #[arg(long)]
    pub keep: bool,

    /// Directory that dipc was started with
    #[arg(long, value_name = "D", env = "DIPC_DIR", hide_env_values = true)]
    pub dir: Option<PathBuf>,
}

impl RemoveOptions {
    /// Parses the command line. Ends the process with exit code 2 if it is invalid.
    pub fn from_command_line() -> Self {
        parse()
    }
}

/// Parses the command line and the environment. An empty environment variable counts as unset.
fn parse<T: CommandFactory + FromArgMatches>() -> T {
    let mut command = T::command().mut_args(|argument| {
        let name = argument.get_env().map(OsStr::to_owned);
        match name.and_then(std::env::var_os) {
            Some(value) if value.is_empty() => argument.env(Resettable::Reset),
            _ => argument,
        }
    });
    let matches = command.get_matches_mut();
    T::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// The lowest severity that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// No log.
    Off,
    /// Errors that end the server or disable a mailbox.
    Error,
    /// Conditions that the operator should know.
    Warn,
    /// Starts and stops.
    Info,
    /// Errors of single connections.
    Debug,
}

impl ServerOptions {
    /// Parses the command line. Ends the process with exit code 2 if it is invalid.
    pub fn from_command_line() -> Self {
        let options: ServerOptions = parse();
        if let Some((kind, message)) = options.objection() {
            ServerOptions::command().error(kind, message).exit();
        }
        options
    }

    /// Longest time that a client can hold a lock: at most 100 years, so that adding it to an instant cannot
    /// overflow.
    pub fn max_hold(&self) -> Duration {
        self.max_hold.min(HOLD_MAX)
    }

    /// Address to listen on.
    pub fn bind(&self) -> IpAddr {
        self.bind.unwrap_or(Ipv4Addr::LOCALHOST.into())
    }

    /// Limit of the memory for clients, in bytes.
    pub fn client_memory(&self) -> u64 {
        let default = || client_memory_share(machine_memory()).max(self.least_client_memory());
        self.client_memory.map_or_else(default, |limit| limit * MB)
    }

    /// Two of the largest answers, in bytes. An answer of a full mailbox may follow other answers of its
    /// batch.
    fn least_client_memory(&self) -> u64 {
        2 * (self.size_kb * 1024 + OUTPUT_HIGH_WATER as u64)
    }

    /// Maximum data of one request, in kB.
    pub fn packet_kb(&self) -> u64 {
        self.packet_kb.unwrap_or(self.size_kb.min(PACKET_KB_MAX))
    }

    /// Number and sizes of the mailboxes.
    pub fn geometry(&self) -> Geometry {
        Geometry { mailboxes: self.mailboxes, capacity: self.size_kb * 1024, packet: self.packet_kb() * 1024 }
    }
}

/// The default of `--client-memory` on a machine with this memory, in bytes.
fn client_memory_share(machine_memory: u64) -> u64 {
    machine_memory / CLIENT_MEMORY_SHARE
}

/// Bytes of the machine's memory. 0 if the system does not tell.
fn machine_memory() -> u64 {
    let value = |name| sysconf(name).ok().flatten().and_then(|value| u64::try_from(value).ok());
    let (pages, size) = (value(SysconfVar::_PHYS_PAGES), value(SysconfVar::PAGE_SIZE));
    pages.unwrap_or(0).saturating_mul(size.unwrap_or(0))
}

fn seconds(word: &str) -> Result<Duration, String> {
    let seconds: f64 = word.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// A duration above zero.
fn hold(word: &str) -> Result<Duration, String> {
    match seconds(word)? {
        Duration::ZERO => Err("must be more than 0 seconds".to_owned()),
        hold => Ok(hold),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        ServerOptions::command().debug_assert();
        RemoveOptions::command().debug_assert();
    }

    #[test]
    fn no_number_three_and_four_numbers_are_valid() {
        let numbers = |words: &str| {
            let words = ["dipc"].into_iter().chain(words.split_whitespace());
            ServerOptions::try_parse_from(words)
                .ok()
                .map(|options| (options.mailboxes, options.size_kb, options.port, options.packet_kb()))
        };
        assert_eq!(numbers(""), Some((64, 64, 5000, 64)));
        assert_eq!(numbers("4 100 6000"), Some((4, 100, 6000, 100)));
        assert_eq!(numbers("4 100 6000 8"), Some((4, 100, 6000, 8)));
        assert_eq!((numbers("4"), numbers("4 100")), (None, None));
    }

    #[test]
    fn max_hold_is_above_zero_and_bounded() {
        assert_eq!(hold("0.5"), Ok(Duration::from_millis(500)));
        assert!(hold("0").is_err());
        let options = ServerOptions::parse_from(["dipc", "--max-hold", "18000000000000000000"]);
        assert_eq!(options.max_hold(), HOLD_MAX);
        assert!(std::time::Instant::now().checked_add(HOLD_MAX).is_some(), "overflows");
    }

    #[test]
    fn seconds_may_have_decimals_but_no_sign() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for bad in ["-1", "inf", "NaN", "", "1s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
