//! The warnings of a start: conditions that its user should know.
//!
//! **The law**: they are printed before the start is reported as successful. After that, a server in the
//! background has no terminal.

use log::Level;

use super::directory::Directory;
use super::terminal;
use crate::mailboxes::{Recovered, Segment};
use crate::options::ServerOptions;

/// Most warnings that a start prints at once. The log has all of them.
const WARNINGS_SHOWN: usize = 10;

/// Logs warnings, and prints them, unless the log is printed itself.
pub(super) fn report(warnings: &[(Level, String)]) {
    for (level, text) in warnings {
        log::log!(*level, "{text}");
    }
    if warnings.is_empty() || super::log::is_stderr() {
        return;
    }
    let shown = warnings.iter().take(WARNINGS_SHOWN);
    let mut lines: Vec<_> = shown.map(|(_, text)| format!("dipc: warning: {text}")).collect();
    if warnings.len() > WARNINGS_SHOWN {
        lines.push(format!("dipc: and {} more warnings", warnings.len() - WARNINGS_SHOWN));
    }
    terminal::print_error(&lines.join("\n"));
}

/// Warnings about options and defaults that do not have their whole effect.
pub(super) fn of_options(options: &ServerOptions, classic_without_udp: Option<u16>) -> Vec<(Level, String)> {
    let udp = classic_without_udp
        .map(|port| format!("the classic port {port} is TCP only, because --bind is not loopback"));
    udp.into_iter().chain(options.adjusted()).map(|text| (Level::Warn, text)).collect()
}

/// The warning about a directory that is not in memory.
pub(super) fn of_directory(directory: &Directory) -> Option<(Level, String)> {
    let path = directory.path().display();
    let text = || (Level::Warn, format!("{path} is not on tmpfs: mailboxes will be written to a disk"));
    (!directory.is_on_tmpfs()).then(text)
}

/// Recovers the mailboxes, and reports damaged ones.
pub(super) fn recover(segment: &Segment) {
    let mut warnings = Vec::new();
    for (mailbox, recovered) in segment.recover() {
        warnings.push(match recovered {
            Recovered::Whole => continue,
            Recovered::FellBack => {
                (Level::Warn, format!("mailbox {mailbox}: active record damaged, previous version restored"))
            }
            Recovered::Lost => {
                (Level::Error, format!("mailbox {mailbox}: both records damaged, all requests are refused"))
            }
        });
    }
    report(&warnings);
}
