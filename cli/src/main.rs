//! `dipc-cli`: what people and scripts say to a dipc.
//!
//! [`options`] is the command line, and the source of its help, completions and man pages; [`run`](commands::run) does
//! one command. A prompt, or a pipe, is the same commands line by line ([`prompt`]). What takes longer than an answer
//! has a module of its own: [`lock`] holds a lock around a command, [`watch`] watches, then [`chat`] and [`top`].
//! [`mod@bench`] puts a server under load.
//!
//! The exit code is always the same: 0 done, 1 not done (`NO`), 2 refused (`ERR`) or wrong usage, 3 no connection.

mod bench;
mod chat;
mod child;
mod commands;
mod failure;
mod interrupts;
mod lock;
mod manual;
mod options;
mod output;
mod pages;
mod prompt;
mod roff;
mod top;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use dipc::client::{Address, Client};
use socket2::{SockRef, TcpKeepalive};

use failure::Failure;
use options::{Cli, Command, Connection};
use output::Output;

/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(5);

/// Silence after which the system asks whether the server's machine is still there, how often, and how many times in vain:
/// who watches or waits without end hears of it. What the server does with its clients.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && wants_json() => {
            let wrong = Failure::usage(&error);
            Output::new(true).print_error(&wrong);
            return ExitCode::from(wrong.exit_code());
        }
        Err(error) => error.exit(),
    };
    let out = Output::new(cli.connection.json);
    let code = run(cli, &out).unwrap_or_else(|failure| {
        out.print_error(&failure);
        failure.exit_code()
    });
    ExitCode::from(code)
}

/// Whether a command line that was not understood asks for JSON.
fn wants_json() -> bool {
    std::env::args_os().take_while(|word| word != "--").any(|word| word == "--json")
}

fn run(cli: Cli, out: &Output) -> Result<u8, Failure> {
    match &cli.command {
        Some(Command::Completions { shell }) => return pages::completions(*shell),
        Some(Command::Manual { directory }) => return pages::manual(directory),
        Some(Command::Bench(options)) => return bench::run(&cli.connection, options, out),
        Some(Command::Lock { command, .. }) if command.is_empty() => {
            return Err(Failure::Usage("lock needs a command to run under it: lock 3 -- command".to_owned()));
        }
        _ => {}
    }
    let connect = || connect(&cli.connection);
    match cli.command {
        None => prompt::run(&connect, out),
        Some(Command::Chat { mailbox, name }) => chat::run(&mut connect()?, mailbox, name.as_deref(), out),
        Some(Command::Top { once }) => top::run(&mut connect()?, once, out),
        Some(command) => commands::run(&mut connect()?, command, out, &mut commands::standard_input),
    }
}

fn connect(connection: &Connection) -> Result<Client, Failure> {
    let address = connection.address()?;
    let connected = address.connect(Some(CONNECTING)).and_then(|mut client| {
        if matches!(address, Address::Tcp { .. }) {
            SockRef::from(&client).set_tcp_keepalive(&KEEPALIVE)?;
        }
        client.set_timeout(connection.timeout)?;
        Ok(client)
    });
    connected.map_err(|error| Failure::Connect(address, error))
}
