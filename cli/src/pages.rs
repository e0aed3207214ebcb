//! Completions and man pages, from the definitions of the command lines.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use dipc::options::{RemoveOptions, ServerOptions};

use crate::failure::Failure;
use crate::manual;
use crate::options::Cli;

/// The manual section of system administration.
const ADMINISTRATOR: &str = "8";

pub(crate) fn completions(shell: Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dipc-cli", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        // clap-rs/clap#6421: the script has two names for a program with a hyphen in its name. Without
        // this replacement, the options of its verbs are not completed.
        script = script.replace("dipc__subcmd__cli__subcmd__", "dipc__cli__subcmd__");
    }
    crate::output::Output::new(false).print_bytes(script.as_bytes())?;
    Ok(0)
}

/// Writes `dipc.8`, `dipcrm.8`, `dipc-cli.1` with a page for each command, and `dipc-protocol.7`.
pub(crate) fn manual(directory: &Path) -> Result<u8, Failure> {
    write(directory).map_err(|error| Failure::local(&directory.display().to_string(), error))?;
    Ok(0)
}

fn write(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (command, name) in [(ServerOptions::command(), "dipc.8"), (RemoveOptions::command(), "dipcrm.8")] {
        let mut page = Vec::new();
        Man::new(command).section(ADMINISTRATOR).render(&mut page)?;
        fs::write(directory.join(name), page)?;
    }
    clap_mangen::generate_to(Cli::command(), directory)?;
    fs::write(directory.join("dipc-protocol.7"), manual::protocol())
}
