//! `dipc MAILBOXES SIZE_KB PORT PACKET_KB`: starts a server.

use std::process::ExitCode;

use dipc::options::ServerOptions;

fn main() -> ExitCode {
    dipc::instance::start(&ServerOptions::from_command_line())
}
