//! `dipc-cli`: the command line client of dipc, for people and scripts.
//!
//! [`options`] defines the command line, and thereby its help, completions and man pages. [`commands::run`]
//! executes one command. [`prompt`] reads commands line by line, from a terminal or a pipe. Commands that
//! last longer than one request have modules of their own: [`lock`] runs a program while it holds a lock,
//! [`edit`] replaces a message with the output of a program, [`take`] runs one for a message in hand,
//! [`watch`] prints messages as they arrive, [`chat`] is a chat room, and [`top`] shows statistics.
//! [`mod@bench`] puts a server under load. [`mod@dump`] writes the mailboxes into a file, and [`restore`]
//! puts them into a server. [`ls`] lists the servers of this machine. [`local_read`] reads in the shared
//! memory. [`outer_locks`] finds requests that would wait for a lock of a program that this program runs
//! under.
//!
//! [`stdio`] and [`input`] keep three promises: nothing is taken without a reader, a closed stream is an
//! error before anything is changed, and input is bounded. [`supervisor`] runs the commands of `lock`,
//! `edit`, `take` and `watch`. [`lease`] renews what the server would take back after silence.
//!
//! Exit codes: 0 done, 1 not done (`NO`), 2 refused (`ERR`) or wrong usage, 3 no connection, 74 an error of
//! this machine, 75 try again: the server is full or stopping, or the lock for a command was
//! not acquired.

mod bench;
mod cancel;
mod charset;
mod chat;
mod child;
mod commands;
mod dump;
mod edit;
mod failure;
mod identity;
mod input;
mod interrupts;
mod lease;
mod local_read;
mod lock;
mod ls;
mod manual;
mod options;
mod outer_locks;
mod output;
mod pages;
mod prompt;
mod reconnect;
mod restore;
mod roff;
mod signals;
mod stdio;
mod supervisor;
mod take;
mod top;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use dipc::client::{Address, Client};
use socket2::{SockRef, TcpKeepalive};

use failure::Failure;
use options::{Cli, Command, Connection, Locking};
use output::Output;

/// Timeout of connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// TCP keepalive, with the values that the server uses. A command that watches or waits without a limit fails
/// when the server's machine is gone.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// Why a single command cannot take a message in hand.
const NOT_IN_HAND: &str = "since a message in hand is given back when its connection ends: a single command \
                           has none. Use take 3 -- COMMAND, or take, done and back at the prompt";

fn main() -> ExitCode {
    let parsed = stdio::require_output().and_then(|()| match Cli::try_parse() {
        Err(error) if error.use_stderr() && wants_json() => Err(Failure::usage(&error)),
        parsed => Ok(parsed.unwrap_or_else(|error| error.exit())),
    });
    let out = Output::new(parsed.as_ref().map_or_else(|_| wants_json(), |cli| cli.connection.json));
    let verbose = parsed.as_ref().is_ok_and(|cli| cli.connection.verbose);
    let out = Output { verbose, ..out };
    let code = parsed.and_then(|cli| run(cli, &out)).unwrap_or_else(|failure| {
        out.print_error(&failure);
        failure.exit_code()
    });
    ExitCode::from(code)
}

/// Whether a command line that could not be parsed asks for JSON.
fn wants_json() -> bool {
    std::env::args_os().take_while(|word| word != "--").any(|word| word == "--json")
}

fn run(mut cli: Cli, out: &Output) -> Result<u8, Failure> {
    match &cli.command {
        Some(Command::Completions { shell, program }) => return pages::completions(*shell, *program),
        Some(Command::Manual { directory }) => return pages::manual(directory),
        Some(Command::Unlock { .. }) => {
            let text = "unlock is a command of the prompt, since a lock ends with its connection: a single \
                        command holds no lock. Use lock 3 -- COMMAND, or lock and unlock at the prompt";
            return Err(Failure::Usage(text.to_owned()));
        }
        Some(Command::Done { .. } | Command::Back { .. }) => {
            return Err(Failure::Usage(format!("done and back are commands of the prompt, {NOT_IN_HAND}")));
        }
        Some(Command::Take(options)) if options.ttl.is_some() && options.command.is_empty() => {
            return Err(Failure::Usage(format!(
                "take --ttl without a command is a command of the prompt, {NOT_IN_HAND}"
            )));
        }
        Some(Command::Ls { dir }) => return ls::run(dir.clone(), cli.connection.timeout, out),
        Some(Command::Bench(options)) => return bench::run(&cli.connection, options, out),
        Some(Command::Lock { command, .. }) if !command.is_empty() => stdio::require_input()?,
        Some(Command::Lock { .. }) => {
            return Err(Failure::Usage(
                "lock needs a command to run under it: lock 3 -- COMMAND. Or lock at the prompt".to_owned(),
            ));
        }
        _ => {}
    }
    if let Some(command) = &mut cli.command
        && local_read::run(&cli.connection, command, out)?
    {
        return Ok(0);
    }
    let name = connection_name(cli.command.as_ref());
    let connect = || connect(&cli.connection, &name);
    match cli.command {
        None => prompt::run(&cli.connection.address()?, &connect, out),
        Some(ref command @ Command::Chat { ref mailbox, ref name, retry }) => {
            let mut client = connect()?;
            outer_locks::check(&mut client, command, out)?;
            chat::run(&mut client, &mailbox.id, name.as_deref(), retry.retry(), out)
        }
        Some(ref command @ Command::Dump(ref options)) => {
            let mut client = connect()?;
            outer_locks::check(&mut client, command, out)?;
            dump::run(client, options, out)
        }
        Some(Command::Restore(options)) => restore::run(&connect, &options, out),
        Some(Command::Top { once, retry }) => top::run(&mut connect()?, once, retry.retry(), out),
        Some(command) => {
            let mut client = connect()?;
            outer_locks::check(&mut client, &command, out)?;
            let mailboxes = command.mailboxes().to_vec();
            commands::run(&mut client, command, out, &mut input::standard_input)
                .inspect_err(|failure| outer_locks::explain(&mut client, failure, &mailboxes, out))
        }
    }
}

/// The name that `stat` shows for the connection of this command.
fn connection_name(command: Option<&Command>) -> String {
    match command {
        Some(Command::Lock { locking: Locking { name: Some(name), .. }, .. }) => name.clone(),
        _ => identity::connection_name(&command.map_or("prompt".to_owned(), Command::title)),
    }
}

/// Connects. The name is sent with the first request.
fn connect(connection: &Connection, name: &str) -> Result<Client, Failure> {
    let address = connection.address()?;
    let connected = address.connect(Some(CONNECT_TIMEOUT)).and_then(|mut client| {
        if matches!(address, Address::Tcp { .. }) {
            SockRef::from(&client).set_tcp_keepalive(&KEEPALIVE)?;
        }
        client.set_timeout(connection.timeout)?;
        client.set_name(name)?;
        Ok(client)
    });
    connected.map_err(|error| Failure::Connect(address, error))
}
