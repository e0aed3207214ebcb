//! The command line: what `--help`, the completions and the man pages say comes from here.

mod connection;
mod duration;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::bench::BenchOptions;
pub use connection::Connection;
use duration::positive;
pub use duration::seconds;

/// Talks to a dipc: one command, or a prompt without one
#[derive(Debug, Parser)]
#[command(
    name = "dipc-cli",
    version,
    disable_help_flag = true,
    after_help = "Without a command there is a prompt, where Ctrl-C gives up what waits; on a pipe the same commands are read \
                  line by line.\n\
                  Messages are printed as they are on a pipe, and made readable on a terminal.\n\n\
                  Examples:\n  dipc-cli write 3 hello\n  dipc-cli read 3 > picture.png\n  \
                  dipc-cli lock 3 -- make deploy\n  dipc-cli watch 3 -- ./on-message\n  dipc-cli bench -c 50 -P 16\n\n\
                  Exit codes: 0 done, 1 not done (timeout, empty, conflict, ..), 2 refused or wrong usage, 3 no connection.\n\
                  `lock BOX -- COMMAND` exits as its command did, or as above when the lock is not to be had, or lost."
)]
pub struct Cli {
    #[command(flatten)]
    pub connection: Connection,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// A line at the prompt.
#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_help_subcommand = true)]
pub struct Line {
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the newest message, or the next one after a version
    #[command(visible_alias = "r")]
    Read {
        #[command(flatten)]
        mailbox: Mailbox,
        /// Leave out the first N bytes
        #[arg(long, value_name = "N")]
        off: Option<u64>,
        /// At most N bytes
        #[arg(long, value_name = "N")]
        len: Option<u64>,
        /// The oldest message newer than version V; wait for one
        #[arg(long, value_name = "V")]
        after: Option<u64>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Replace what the mailbox holds
    #[command(visible_alias = "w")]
    Write {
        #[command(flatten)]
        mailbox: Mailbox,
        #[command(flatten)]
        data: Data,
        /// Only when the mailbox is at version V
        #[arg(long = "if", value_name = "V")]
        if_version: Option<u64>,
        /// Patch the message from byte N on
        #[arg(long, value_name = "N")]
        off: Option<u64>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Add a message at the end
    Put {
        #[command(flatten)]
        mailbox: Mailbox,
        #[command(flatten)]
        data: Data,
        /// The oldest messages make room
        #[arg(long)]
        drop: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Print the oldest message and remove it; wait for one
    Take {
        #[command(flatten)]
        mailbox: Mailbox,
        #[command(flatten)]
        wait: Wait,
    },
    /// Run a command while nobody else is in these mailboxes
    ///
    /// The lease is renewed while the command runs. When the lock is lost all the same, the command is told to end
    /// (TERM, after 5 seconds KILL), and all that it has started. Signals are passed on to it; a KILL of dipc-cli kills the
    /// command, but not what that has started. It finds the number of the lock in DIPC_GRANT and the mailboxes in DIPC_BOX.
    ///
    /// The lock keeps the command out, too: a dipc-cli that it starts is somebody else. So lock a mailbox that stands for what
    /// is to be protected, and that nobody writes.
    ///
    /// The exit code is the command's: 128 more than the number of a signal that ended it, 127 when it does not exist, 126
    /// when it cannot be run. It is 1 when the lock is not to be had in time, 2 or 3 when it is refused or lost.
    ///
    /// At the prompt the command may be left out: then the lock is kept until unlock, or its lease ends.
    Lock {
        #[command(flatten)]
        locking: Locking,
        /// The command and its arguments, behind --
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Give back what was locked at this prompt
    Unlock {
        /// Mailboxes, or * for all
        #[arg(value_name = "BOX[,BOX..]")]
        mailboxes: String,
        /// Only when this was the number of the lock
        #[arg(long, value_name = "G")]
        grant: Option<u64>,
    },
    /// Print every new message, or run a command for each
    ///
    /// The command gets the message on its standard input, and DIPC_BOX, DIPC_VERSION and DIPC_LOST (how many messages
    /// before it are gone) in its environment. One runs at a time; how it ends makes no difference.
    Watch {
        #[command(flatten)]
        mailboxes: Mailboxes,
        /// Begin behind version V, with what is still there
        #[arg(long, value_name = "V")]
        after: Option<u64>,
        /// End after so many messages
        #[arg(short = 'n', long, value_name = "N")]
        count: Option<u64>,
        /// The command and its arguments, behind --
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// What the server counts
    Stat {
        /// BOX, conns or locks
        topic: Option<String>,
    },
    /// Ask whether the server is there, and how long it takes to answer
    Ping,
    /// What the server is
    Hello {
        /// What stat shows of this connection
        name: Option<String>,
    },
    /// Talk with others in a mailbox; Ctrl-D leaves
    Chat {
        #[arg(value_name = "BOX")]
        mailbox: u32,
        /// Your name [default: that of the user]
        #[arg(long)]
        name: Option<String>,
    },
    /// Show mailboxes, holders, queues and rates, again every second
    Top {
        /// Once, and without rates
        #[arg(long)]
        once: bool,
    },
    /// Put a server on this machine under load, and measure it; overwrites its mailboxes
    ///
    /// Mailboxes 0 to N-1 (--mailboxes) lose what they hold. One thread drives all connections, so that the load costs the
    /// same for every system. Without --rate each connection sends a batch, awaits its answers, and sends the next one.
    /// A server that is silent for 35 seconds (--timeout) has failed.
    ///
    /// Requests in a second depend on what the load takes of the processors; the CPU time per request does not.
    Bench(Box<BenchOptions>),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the man pages into a directory
    #[command(hide = true)]
    Manual {
        /// Where
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct Mailbox {
    /// The number of the mailbox
    #[arg(value_name = "BOX")]
    pub number: u32,
}

#[derive(Debug, Args)]
pub struct Mailboxes {
    /// The numbers of the mailboxes
    #[arg(value_name = "BOX[,BOX..]", required = true, num_args = 1, value_delimiter = ',')]
    pub numbers: Vec<u32>,
}

#[derive(Debug, Args)]
pub struct Locking {
    #[command(flatten)]
    pub mailboxes: Mailboxes,
    /// Readers are let in
    #[arg(long)]
    pub shared: bool,
    /// Seconds of silence after which the lock ends by itself [default: 30]
    #[arg(long, value_name = "S", value_parser = positive)]
    pub ttl: Option<Duration>,
    #[command(flatten)]
    pub wait: Wait,
}

#[derive(Debug, Args)]
pub struct Wait {
    /// Seconds to wait, or inf [default: the server's, 30]
    #[arg(long, value_name = "S", value_parser = seconds, allow_negative_numbers = true)]
    pub wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct Data {
    /// The message, its words joined by a blank; without it, standard input as it is
    #[arg(value_name = "TEXT", conflicts_with = "file", allow_negative_numbers = true)]
    pub text: Vec<OsString>,

    /// The message is this file; - is standard input
    #[arg(long, value_name = "F")]
    pub file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
        Line::command().debug_assert();
    }
}
