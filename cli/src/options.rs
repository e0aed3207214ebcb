//! The definition of the command line. `--help`, the completions and the man pages are generated from it.

mod arguments;
mod command;
mod connection;
mod dump;
mod duration;
mod number;
mod take;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::bench::BenchOptions;
use crate::failure::TRY_AGAIN;
use crate::pages::Program;
pub(crate) use arguments::{Data, Locking};
use arguments::{Local, Mailbox, Mailboxes, RetryOption, Wait};
pub(crate) use connection::Connection;
pub(crate) use dump::{DumpOptions, RestoreOptions, Selection};
pub(crate) use duration::seconds;
use number::count;
pub(crate) use take::{InHand, TakeOptions};

/// Client for a dipc server; without a command, an interactive prompt
#[derive(Debug, Parser)]
#[command(
    name = "dipc-cli",
    version,
    disable_help_flag = true,
    after_help = "Without a command there is a prompt, where Ctrl-C cancels a waiting command. If standard \
                  input or standard output is not a terminal, the same commands are read from standard \
                  input line by line.\n\
                  Messages are printed unchanged on a pipe, and escaped on a terminal.\n\n\
                  Examples:\n  dipc-cli write 3 hello\n  dipc-cli read 3 > picture.png\n  \
                  dipc-cli edit 3 -- sed s/old/new/\n  dipc-cli lock 3 -- make deploy\n  \
                  dipc-cli take 3 -- ./job\n  dipc-cli watch 3 -- ./on-message\n  \
                  dipc-cli bench -c 50 -P 16\n  dipc-cli ls\n\n\
                  Exit codes: 0 done, 1 not done (timeout, empty, conflict, ..), 2 refused or wrong usage, \
                  3 no connection, 74 a file or stream of this machine failed, 75 try again: the server is \
                  full or stopping, or `lock BOX -- COMMAND` did not acquire the lock in time.\n\
                  `lock BOX -- COMMAND` and `take BOX -- COMMAND` exit with COMMAND's code if COMMAND was \
                  started, and as above if the lock or the message is lost. `edit BOX -- COMMAND` \
                  exits with COMMAND's code if COMMAND fails."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub connection: Connection,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// A line at the prompt.
#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_help_subcommand = true)]
pub(crate) struct Line {
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// Print the version and the number of messages too, to standard error
    #[arg(short, long, global = true, alias = "info")]
    pub verbose: bool,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the newest message, or the next one after a version
    #[command(visible_alias = "r")]
    Read {
        #[command(flatten)]
        mailbox: Mailbox,
        /// Skip the first N bytes
        #[arg(long, value_name = "N", value_parser = count)]
        off: Option<u64>,
        /// Print at most N bytes
        #[arg(long, value_name = "N", value_parser = count)]
        len: Option<u64>,
        /// Print the version instead of the message
        #[arg(long, conflicts_with_all = ["off", "len"])]
        version: bool,
        /// Print the oldest message newer than version V; waits if there is none
        #[arg(long, value_name = "V", value_parser = count)]
        after: Option<u64>,
        #[command(flatten)]
        wait: Wait,
        #[command(flatten)]
        local: Local,
    },
    /// Replace the contents of the mailbox with one message
    #[command(visible_alias = "w")]
    Write {
        #[command(flatten)]
        mailbox: Mailbox,
        #[command(flatten)]
        data: Data,
        /// Write only if the mailbox is at version V
        #[arg(long = "if", value_name = "V", value_parser = count)]
        if_version: Option<u64>,
        /// Overwrite the message from byte N on
        #[arg(long, value_name = "N", value_parser = count)]
        off: Option<u64>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Append a message to the queue
    Put {
        #[command(flatten)]
        mailbox: Mailbox,
        #[command(flatten)]
        data: Data,
        /// Drop the oldest messages to make room
        #[arg(long)]
        drop: bool,
        #[command(flatten)]
        wait: Wait,
    },
    Take(TakeOptions),
    /// Remove a message in hand; only at the prompt, after take --ttl
    Done {
        #[command(flatten)]
        in_hand: InHand,
    },
    /// Give back a message in hand, in its old place; only at the prompt, after take --ttl
    Back {
        #[command(flatten)]
        in_hand: InHand,
    },
    /// Replace the newest message with the output of a command that gets it as input
    ///
    /// The message is replaced only if no other client has written to the mailbox meanwhile. Otherwise the
    /// command runs again with the new message. The command may therefore run several times. If it fails, the
    /// mailbox is not changed. Its environment has DIPC_BOX, the number of the mailbox, and DIPC_VERSION, the
    /// version of the message.
    ///
    /// Input and output are the unchanged bytes of the messages: the newline that most commands print at the
    /// end is part of the new message. An empty mailbox is an empty input. Like write, edit removes older
    /// messages of the mailbox. The output ends when no process has it open any more.
    ///
    /// --wait limits all requests together: after that time a mailbox that another client has written is not
    /// read again, and the exit code is 1. Without --wait, each request waits for the server's default, and
    /// the command runs until no other client interferes. Signals are forwarded to the command, as with lock.
    /// After INT, TERM, HUP or QUIT nothing is written.
    #[command(after_long_help = "Examples:\n  \
        dipc-cli edit 3 -- awk '{print $1+1}'         a counter\n  \
        dipc-cli edit 3 -- awk 'END {print $1+1}'     a counter that starts in an empty mailbox too\n  \
        dipc-cli edit 3 -- sed s/old/new/\n  \
        dipc-cli edit 3 -- jq '.count += 1'\n\n\
        Exit codes: 0 if the message was replaced; that of the command if it failed, or 128 plus the number \
        of the signal that ended it; 127 if the command does not exist, and 126 if it cannot be executed; 1 \
        if the mailbox was not free or changed for longer than --wait; 2 if a request was refused or the \
        output is too large; 3 if the connection was lost.")]
    Edit {
        #[command(flatten)]
        mailbox: Mailbox,
        #[command(flatten)]
        wait: Wait,
        /// The command and its arguments, after --
        #[arg(last = true, required = true, value_name = "COMMAND",
              value_hint = ValueHint::CommandWithArguments)]
        command: Vec<OsString>,
    },
    /// Run a command while these mailboxes are locked
    ///
    /// The lease is renewed while the command runs, but not beyond --max-hold of the server, which is 600
    /// seconds unless configured: a command that may run longer needs a server with a longer --max-hold. If
    /// the lock is lost, the command and all its descendants are terminated: by TERM, and by KILL after 5
    /// seconds. DIPC_GRANT contains the fencing token of the lock, DIPC_BOX the numbers of the mailboxes.
    ///
    /// Signals are forwarded to the command and its descendants. A second INT, TERM, HUP or QUIT, at least a
    /// second after the first, kills them. If they belong to another user, as with sudo, a second signal ends
    /// dipc-cli only. A KILL of dipc-cli kills the command, but not its descendants.
    ///
    /// The lock also excludes a dipc-cli that the command starts, since it is a different client. A request
    /// of such a dipc-cli that would wait for the lock fails at once, with exit code 2. DIPC_LOCKS tells it
    /// the locks of all programs that it runs under. So lock a mailbox that represents the protected
    /// resource, and that is not used otherwise. To use the locked mailbox itself, lock it at the prompt: the
    /// commands `lock 3`, `write 3 text` and `unlock 3`.
    ///
    /// At the prompt the command may be omitted. Then the lock is held until unlock, or until its lease
    /// expires.
    #[command(after_long_help = "Examples:\n  \
        dipc-cli lock 3 -- make deploy\n  \
        dipc-cli lock 3 --wait 0 -- ./job          does not wait for the lock\n  \
        dipc-cli lock 3 -- sh -c 'echo $DIPC_GRANT; exec ./job'\n\n\
        Exit codes: that of the command, or 128 plus the number of the signal that ended the command; 127 if \
        the command does not exist, and 126 if it cannot be executed; 75, or that of --conflict-exit-code, \
        if the lock was not acquired in time; 2 or 3 if the lock was refused or lost; 75 if the server is \
        full or stopping.")]
    Lock {
        #[command(flatten)]
        locking: Locking,
        /// Exit code if the lock is not acquired in time and the command does not run
        #[arg(short = 'E', long, value_name = "N", default_value_t = TRY_AGAIN)]
        conflict_exit_code: u8,
        /// The command and its arguments, after --
        #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
        command: Vec<OsString>,
    },
    /// Release locks of this prompt; only at the prompt, since a lock ends with its connection
    Unlock {
        /// Mailboxes, or * for all
        #[arg(value_name = "BOX[,BOX..]")]
        mailboxes: String,
        /// Release only locks with this fencing token
        #[arg(long, value_name = "G", value_parser = count)]
        grant: Option<u64>,
    },
    /// Print every new message, or run a command for each of them
    ///
    /// The command gets the message on its standard input, and DIPC_BOX (the number of the mailbox),
    /// DIPC_VERSION and DIPC_LOST (the number of missed messages before it) in its environment. One command
    /// runs at a time; its exit code is ignored. Signals are forwarded to the command and its descendants, as
    /// with lock. INT, TERM, HUP and QUIT also end the watch, when the command has ended.
    ///
    /// Without a command, the watch ends when standard output has no reader.
    #[command(after_long_help = "Examples:\n  \
        dipc-cli watch 3\n  \
        dipc-cli watch 3,4 --after 0 --json\n  \
        dipc-cli watch 3 -- sh -c 'echo $DIPC_VERSION; cat'")]
    Watch {
        #[command(flatten)]
        mailboxes: Mailboxes,
        /// Start after version V, with the messages that are still stored
        #[arg(long, value_name = "V", value_parser = count)]
        after: Option<u64>,
        /// End after N messages
        #[arg(short = 'n', long, value_name = "N", value_parser = count)]
        count: Option<u64>,
        #[command(flatten)]
        retry: RetryOption,
        /// The command and its arguments, after --
        #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
        command: Vec<OsString>,
    },
    /// Print or set the name of a mailbox, which may stand in the place of its number
    ///
    /// Without NAME, prints the number and the name. `stat names` lists all names.
    #[command(after_long_help = "Examples:\n  \
        dipc-cli name 3 jobs\n  \
        dipc-cli put jobs 'a job'\n  \
        dipc-cli name jobs -                       removes the name")]
    Name {
        #[command(flatten)]
        mailbox: Mailbox,
        /// New name: 1 to 64 of a-z 0-9 _ . -, beginning with a letter; - removes the name
        name: Option<String>,
    },
    /// Print the server's statistics
    Stat {
        /// BOX, conns, locks or names
        topic: Option<String>,
    },
    /// Check that the server answers, and measure how long it takes
    Ping,
    /// Print the server's version and limits
    Hello {
        /// Name of this connection in stat, in place of user@host:hello
        name: Option<String>,
    },
    /// Chat with other users through a mailbox; Ctrl-D leaves
    Chat {
        #[command(flatten)]
        mailbox: Mailbox,
        /// Your name [default: environment variable USER, or the login name]
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        retry: RetryOption,
    },
    /// Show mailboxes, holders, queues and rates, every second; q leaves
    Top {
        /// Print the statistics once, without rates
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        retry: RetryOption,
    },
    /// List your servers on this machine, running and dead
    ///
    /// A dead server was stopped or killed, and its mailboxes are kept. `dipc` with the same numbers and
    /// options continues with them, `dipcrm PORT` deletes them.
    ///
    /// CLIENTS is `?` if the server does not answer within a second (--timeout): it is starting, stopping or
    /// halted, or serves no more clients. SIZE_KB and PACKET_KB are the numbers that the server was started
    /// with. MEMORY_KB is the memory of the mailboxes, AGE the time since they were created. NOTE says why a
    /// file is not one of this version.
    ///
    /// No server is disturbed: nothing is locked or changed. The exit code is 0 also if there are no servers.
    #[command(after_long_help = "Examples:\n  \
        dipc-cli ls\n  \
        dipc-cli ls --dir /run/dipc\n  \
        dipc-cli ls --json                         one object for each server; sizes in bytes")]
    Ls {
        /// Directory that dipc was started with [default: environment variable DIPC_DIR, or
        /// /dev/shm/dipc-UID]
        #[arg(long, value_name = "D", value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
    /// Put a server on this machine under load, and measure it
    ///
    /// Mailboxes 0 to N-1 (--mailboxes) are overwritten. If one of them holds messages, this needs
    /// --overwrite. Nothing is overwritten if the server is of another kind, or if the run is not possible
    /// there. One thread drives all connections, so that the load
    /// costs the same for every system. Without --rate, each connection sends a batch, waits for its answers,
    /// and sends the next batch. The run fails if the server is silent for 35 seconds (--timeout).
    ///
    /// The load generator uses the same processors as the server: this affects requests per second, but not
    /// CPU time per request.
    Bench(Box<BenchOptions>),
    /// Write the messages, versions and names of all mailboxes of a running server into a file
    ///
    /// The file gets its name when it is complete and on the disk, with mode 0600: an interrupted dump leaves
    /// no file. A dump on standard output is complete if the exit code is 0.
    ///
    /// Each mailbox is dumped as it is at one moment: while its messages are read, it is locked for reading,
    /// so that writers wait. Mailboxes without a message, a version and a name are left out. A message in
    /// hand is dumped like the others.
    #[command(after_long_help = "Examples:\n  \
        dipc-cli dump mailboxes.dump\n  \
        dipc-cli dump --box 3,4 - | gzip > two.dump.gz\n\n\
        Exit codes: 0 if the dump is complete; 1 if a mailbox was not free within --wait; 2 if a request was \
        refused; 3 if the connection was lost; 74 if the file could not be written.")]
    Dump(DumpOptions),
    /// Put the messages, versions and names of a dump into a running server
    ///
    /// The whole file is checked first, and so is the server: the mailboxes of the file have to be empty,
    /// with versions below those of their messages in the file, and the messages have to fit. Otherwise
    /// nothing is changed, and the reasons are told. The server may have other sizes than that of the dump.
    ///
    /// The mailboxes are not locked, so no other client should use them meanwhile. If one does, restore stops
    /// and tells which mailboxes are complete.
    #[command(after_long_help = "Examples:\n  \
        dipc-cli restore mailboxes.dump\n  \
        gunzip < two.dump.gz | dipc-cli restore -\n  \
        dipc-cli dump - -p 5000 | dipc-cli restore - -p 6000     copies to another server\n\n\
        Exit codes: 0 if everything is restored; 1 if another client has changed a mailbox meanwhile; 2 if \
        the server is not suitable, and nothing was changed; 3 if the connection was lost; 74 if the file is \
        damaged, and nothing was changed.")]
    Restore(RestoreOptions),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
        /// The program that is completed
        #[arg(value_enum, default_value = "dipc-cli")]
        program: Program,
    },
    /// Write the man pages into a directory
    #[command(hide = true)]
    Manual {
        /// The directory
        directory: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
        Line::command().debug_assert();
    }
}
