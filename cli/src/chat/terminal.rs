//! The settings of the terminal.

use std::io::{self, Write};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

/// What is typed from now on is as it was before the line editor: not marked where it is pasted, and on a line of its own.
const RESET: &str = "\x1b[?2004l\r\n";

/// The settings of the terminal, restored in the end: the line editor may be in the middle of a line then.
pub struct TerminalSettings {
    saved: Option<Termios>,
    edits: bool,
}

impl TerminalSettings {
    pub fn save(edits: bool) -> Self {
        TerminalSettings { saved: tcgetattr(io::stdin()).ok(), edits }
    }
}

impl Drop for TerminalSettings {
    fn drop(&mut self) {
        if let Some(settings) = &self.saved {
            // A terminal that is gone needs none.
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, settings);
            if self.edits {
                let _ = io::stdout().write_all(RESET.as_bytes()).and_then(|()| io::stdout().flush());
            }
        }
    }
}
