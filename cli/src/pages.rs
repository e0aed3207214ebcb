//! Completions and man pages, from the definitions of the command lines.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use dipc::options::{RemoveOptions, ServerOptions};

use crate::failure::Failure;
use crate::manual;
use crate::options::Cli;
use crate::roff::verbatim;

/// The end of the completions for bash: clap_complete completes no commands.
const BASH_COMMAND: &str = include_str!("pages/command.bash");

/// The manual section of system administration.
const ADMINISTRATOR: &str = "8";

/// The programs that have completions.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Program {
    Dipc,
    Dipcrm,
    DipcCli,
}

impl Program {
    fn command(self) -> Command {
        match self {
            Program::Dipc => ServerOptions::command(),
            Program::Dipcrm => RemoveOptions::command(),
            Program::DipcCli => Cli::command(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Program::Dipc => "dipc",
            Program::Dipcrm => "dipcrm",
            Program::DipcCli => "dipc-cli",
        }
    }
}

pub(crate) fn completions(shell: Shell, program: Program) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program.command(), program.name(), &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        // clap-rs/clap#6421: the script has two names for a program with a hyphen in its name. Without
        // this replacement, the options of its verbs are not completed.
        script = script.replace("dipc__subcmd__cli__subcmd__", "dipc__cli__subcmd__");
        if let Program::DipcCli = program {
            script.push_str(BASH_COMMAND);
        }
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
    for (mut command, name) in [(ServerOptions::command(), "dipc.8"), (RemoveOptions::command(), "dipcrm.8")]
    {
        let mut page = Vec::new();
        Man::new(command.clone()).section(ADMINISTRATOR).render(&mut page)?;
        fs::write(directory.join(name), page)?;
        complete(&directory.join(name), &mut command)?;
    }
    clap_mangen::generate_to(Cli::command(), directory)?;
    let mut cli = Cli::command();
    cli.build();
    complete(&directory.join("dipc-cli.1"), &mut cli)?;
    for command in cli.get_subcommands_mut() {
        // Hidden commands and `help` have no pages.
        let page = directory.join(format!("dipc-cli-{}.1", command.get_name()));
        if page.exists() {
            complete(&page, command)?;
        }
    }
    fs::write(directory.join("dipc-protocol.7"), manual::protocol())
}

/// Completes a page of clap_mangen: a synopsis with values and with the `--` before a command, and sections
/// of their own for the examples and the exit codes.
fn complete(path: &Path, command: &mut Command) -> io::Result<()> {
    let usage = command.render_usage().to_string();
    fs::write(path, completed(&fs::read_to_string(path)?, usage.trim_start_matches("Usage: ")))
}

fn completed(page: &str, usage: &str) -> String {
    let (mut text, mut lines) = (String::new(), page.lines());
    let mut is_example = false;
    while let Some(line) = lines.next() {
        match line {
            ".SH SYNOPSIS" => {
                lines.next();
                text.push_str(&format!(".SH SYNOPSIS\n{}\n", verbatim(usage)));
            }
            ".SH EXTRA" => text.push_str(".SH NOTES\n"),
            "Examples:" => {
                text.push_str(".SH EXAMPLES\n.EX\n");
                is_example = true;
            }
            "" if is_example => {
                text.push_str(".EE\n");
                is_example = false;
            }
            line => match line.strip_prefix("Exit codes: ") {
                Some(codes) => text.push_str(&format!(".SH \"EXIT STATUS\"\n{codes}\n.PP\n")),
                None => text.push_str(&format!("{line}\n")),
            },
        }
    }
    if is_example {
        text.push_str(".EE\n");
    }
    // Without a text before the examples, the section is empty.
    text.replace(".SH NOTES\n.SH", ".SH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gets_a_synopsis_and_sections() {
        let page =
            ".SH NAME\na\n.SH SYNOPSIS\n[b]\n.SH EXTRA\nc\n\nExamples:\n  d\n  e\n\nExit codes: 0 f\ng\n";
        let expected = ".SH NAME\na\n.SH SYNOPSIS\na \\-\\- B\n.SH NOTES\nc\n\n.SH EXAMPLES\n\
                        .EX\n  d\n  e\n.EE\n.SH \"EXIT STATUS\"\n0 f\n.PP\ng\n";
        assert_eq!(completed(page, "a -- B"), expected);
        assert_eq!(completed(".SH EXTRA\nExamples:\n  d", "a"), ".SH EXAMPLES\n.EX\n  d\n.EE\n");
    }
}
