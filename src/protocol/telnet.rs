//! The negotiations of telnet. The server supports no option, so it refuses every option. Source: RFC 854.

use super::header::HEADER_MAX;

/// The first byte of a telnet command.
pub(super) const IAC: u8 = 255;

const SE: u8 = 240;
const SB: u8 = 250;
const WILL: u8 = 251;
const WONT: u8 = 252;
const DO: u8 = 253;
const DONT: u8 = 254;

/// A telnet command at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// The command is incomplete: at least this many bytes are missing.
    NotYet(usize),
    /// A command of this many bytes that needs no answer.
    Skip(usize),
    /// A negotiation of three bytes that is answered with these bytes.
    Answer([u8; 3]),
    /// The command has more than [`HEADER_MAX`] bytes.
    TooLong,
}

/// The length of a negotiation, `IAC DO x`.
pub(super) const NEGOTIATION_LEN: usize = 3;

/// Parses a command, `IAC WILL x`, `IAC SB .. IAC SE` or `IAC command`, at the start of `bytes`. After
/// Ctrl-C, telnet shows nothing until `IAC DO TIMING-MARK` is answered. Source: RFC 860.
pub(super) fn command(bytes: &[u8]) -> Command {
    let len = match bytes.get(1) {
        None => return Command::NotYet(1),
        Some(&(WILL | WONT | DO | DONT)) => NEGOTIATION_LEN,
        Some(&SB) => match bytes.windows(2).take(HEADER_MAX).position(|pair| pair == [IAC, SE]) {
            Some(at) => at + 2,
            None if bytes.len() > HEADER_MAX => return Command::TooLong,
            None => return Command::NotYet(1),
        },
        Some(_) => 2,
    };
    match *bytes {
        _ if bytes.len() < len => Command::NotYet(len - bytes.len()),
        [_, WILL, option, ..] => Command::Answer([IAC, DONT, option]),
        [_, DO, option, ..] => Command::Answer([IAC, WONT, option]),
        _ => Command::Skip(len),
    }
}
