//! What `dipc` and `dipcrm` are told on the command line and by the environment.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, CommandFactory, Parser, ValueEnum, error::ErrorKind};

use crate::mailboxes::{CAPACITY_MAX, Geometry};

/// kB that one request may carry at most: 1 GiB.
const PACKET_KB_MAX: u64 = 1024 * 1024;

/// The longest that a lock may be held: 100 years.
const HOLD_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Starts a server of shared-memory mailboxes in the background, and returns when clients can connect
#[derive(Clone, Debug, Parser)]
#[command(
    name = "dipc",
    version,
    disable_help_flag = true,
    after_help = "Example:  dipc 4 64 5000 8    then:  telnet localhost 5000    and in the end:  dipcrm 5000\n\n\
                  Exit codes: 0 started or stopped, 1 cannot run, 2 usage, 3 port or instance in use, \
                  4 the segment there is of another kind."
)]
pub struct ServerOptions {
    /// How many mailboxes
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub mailboxes: u32,

    /// Size of each mailbox in kB (1024 bytes)
    #[arg(value_parser = clap::value_parser!(u64).range(1..=CAPACITY_MAX / 1024))]
    pub size_kb: u64,

    /// TCP port; 0 takes any free one and says which
    pub port: u16,

    /// The most data that one request may carry, in kB
    #[arg(value_parser = clap::value_parser!(u64).range(1..=PACKET_KB_MAX))]
    pub packet_kb: u64,

    /// Address to listen on
    #[arg(long, value_name = "ADDR", env = "DIPC_BIND", hide_env_values = true, default_value = "127.0.0.1")]
    pub bind: IpAddr,

    /// Serve others than this machine too; needed with a --bind that is not loopback
    #[arg(long, env = "DIPC_OPEN", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub open: bool,

    /// Serve on this Unix-domain socket too
    #[arg(long, value_name = "PATH", env = "DIPC_UNIX", hide_env_values = true)]
    pub unix: Option<PathBuf>,

    /// Worker threads [default: as many as processors]
    #[arg(long, value_name = "N", env = "DIPC_WORKERS", hide_env_values = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,

    /// How long a request waits for its mailbox that does not say, in seconds
    #[arg(long, value_name = "S", env = "DIPC_WAIT", hide_env_values = true, default_value = "30", value_parser = seconds)]
    pub wait: Duration,

    /// How long a lock may be held at most, in seconds, whatever its client does
    #[arg(long, value_name = "S", env = "DIPC_MAX_HOLD", hide_env_values = true, default_value = "600", value_parser = hold)]
    pub max_hold: Duration,

    /// Clients served at once, at most the descriptor limit less 32
    #[arg(long, value_name = "N", env = "DIPC_MAX_CLIENTS", hide_env_values = true, default_value = "10000",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_clients: u32,

    /// Silence after which a request without an end of line counts as complete; 0 turns this off
    #[arg(long, value_name = "N", env = "DIPC_QUIET_MS", hide_env_values = true, default_value = "200",
          value_parser = clap::value_parser!(u32).range(..=60_000))]
    pub quiet_ms: u32,

    /// Keep the instance in D/PORT instead of /dev/shm/dipc-UID/PORT
    #[arg(long, value_name = "D", env = "DIPC_DIR", hide_env_values = true)]
    pub dir: Option<PathBuf>,

    /// Throw away what an earlier server on this port has left
    #[arg(long, env = "DIPC_FRESH", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub fresh: bool,

    /// Do not go to the background
    #[arg(long, env = "DIPC_FOREGROUND", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub foreground: bool,

    /// Log to this file [default: stderr with --foreground, else nowhere]; SIGHUP opens it anew
    #[arg(long, value_name = "F", env = "DIPC_LOG_FILE", hide_env_values = true)]
    pub log_file: Option<PathBuf>,

    /// How much to log
    #[arg(long, value_name = "L", env = "DIPC_LOG_LEVEL", hide_env_values = true, default_value = "info")]
    pub log_level: LogLevel,

    /// Print this help
    #[arg(short, long, action = ArgAction::HelpShort)]
    help: Option<bool>,
}

/// Stops the dipc on a port and removes all it has left: files, memory, process.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "dipcrm",
    version,
    after_help = "Exit codes: 0 removed, 1 nothing there, 2 usage, 3 refused."
)]
pub struct RemoveOptions {
    /// The port that dipc was started with
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// The directory that dipc was started with
    #[arg(long, value_name = "D", env = "DIPC_DIR", hide_env_values = true)]
    pub dir: Option<PathBuf>,
}

/// How much to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What ends the server.
    Error,
    /// What somebody should look at.
    Warn,
    /// Starts and stops.
    Info,
    /// Connections that break.
    Debug,
}

impl ServerOptions {
    /// Reads the command line; ends the process with exit code 2 when it is wrong.
    pub fn from_command_line() -> Self {
        let options = ServerOptions::parse();
        if !options.bind.is_loopback() && !options.open {
            let message = "others than this machine could connect; add --open if that is meant";
            ServerOptions::command().error(ErrorKind::ArgumentConflict, message).exit();
        }
        options
    }

    /// How many mailboxes of which size.
    pub fn geometry(&self) -> Geometry {
        Geometry { mailboxes: self.mailboxes, capacity: self.size_kb * 1024, packet: self.packet_kb * 1024 }
    }
}

fn seconds(word: &str) -> Result<Duration, String> {
    let seconds: f64 = word.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// A lock that ends before it begins is none, and no clock reaches what is beyond a century.
fn hold(word: &str) -> Result<Duration, String> {
    match seconds(word)? {
        Duration::ZERO => Err("more than 0 seconds".to_owned()),
        hold => Ok(hold.min(HOLD_MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        ServerOptions::command().debug_assert();
        RemoveOptions::command().debug_assert();
    }

    #[test]
    fn a_lock_ends_at_some_time() {
        assert_eq!(hold("0.5"), Ok(Duration::from_millis(500)));
        assert!(hold("0").is_err());
        let forever = hold("18000000000000000000").expect("a long time");
        assert!(std::time::Instant::now().checked_add(forever).is_some(), "the clock has no such time");
    }

    #[test]
    fn seconds_have_decimals_and_no_sign() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for bad in ["-1", "inf", "NaN", "", "1s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
