//! Saves and restores the settings of the terminal.

use std::io::{self, Write};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

/// Turns off bracketed paste, which the line editor has turned on, and starts a new line.
const RESET: &str = "\x1b[?2004l\r\n";

/// The settings of the terminal. They are restored when this value is dropped, since the line editor may have
/// left the terminal in raw mode.
pub(super) struct TerminalSettings {
    saved: Option<Termios>,
    /// Whether there is a line editor.
    edits: bool,
}

impl TerminalSettings {
    pub(super) fn save(edits: bool) -> Self {
        TerminalSettings { saved: tcgetattr(io::stdin()).ok(), edits }
    }
}

impl Drop for TerminalSettings {
    fn drop(&mut self) {
        if let Some(settings) = &self.saved {
            // Fails if the terminal is gone.
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, settings);
            if self.edits {
                let _ = io::stdout().write_all(RESET.as_bytes()).and_then(|()| io::stdout().flush());
            }
        }
    }
}
