//! `dipcrm PORT`: stops a server and removes its data.

use std::process::ExitCode;

use dipc::options::RemoveOptions;

fn main() -> ExitCode {
    dipc::instance::remove(&RemoveOptions::from_command_line())
}
