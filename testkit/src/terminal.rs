//! A program on a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::process::wait_for_end;
use crate::program;
use crate::server::Server;
use crate::wait::HANG;

/// A program on a terminal of its own, and what it shows. It is killed when this is dropped.
pub struct Terminal {
    keys: File,
    child: Child,
    shown: String,
    /// The local modes before the program started.
    pub initial_modes: LocalFlags,
}

impl Terminal {
    /// Starts `dipc-cli` of this server with these words.
    #[track_caller]
    pub fn start(server: &Server, words: &[&str]) -> Self {
        Terminal::start_in(server, words, &[])
    }

    /// Starts `dipc-cli` with these variables in its environment.
    #[track_caller]
    pub fn start_in(server: &Server, words: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program::dipc_cli());
        command.args(words).env("DIPC_URL", format!("dipc://127.0.0.1:{}", server.port));
        command.env("DIPC_HISTORY", server.directory.join("history"));
        command.envs(variables.iter().copied());
        Terminal::run(&command)
    }

    /// Starts a program.
    #[track_caller]
    pub fn run(command: &Command) -> Self {
        let pty = openpty(None, None).expect("a terminal");
        // The clone is closed on exec. If a child inherited the master, the terminal would not hang up when
        // this process closes the clone.
        let master = pty.master.try_clone().expect("cloned");
        drop(pty.master);
        let initial_modes = tcgetattr(&master).expect("a terminal").local_flags;
        let end = |slave: &OwnedFd| Stdio::from(slave.try_clone().expect("cloned"));
        // Keys like Ctrl-C are signals only for the session that the terminal controls.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args())
            .env("TERM", "xterm")
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(end(&pty.slave))
            .stdout(end(&pty.slave))
            .stderr(end(&pty.slave))
            .spawn()
            .expect("setsid runs");
        Terminal { keys: File::from(master), child, shown: String::new(), initial_modes }
    }

    /// Presses these keys.
    #[track_caller]
    pub fn press(&mut self, keys: impl AsRef<[u8]>) {
        self.keys.write_all(keys.as_ref()).expect("typed");
    }

    /// Sets the size that the program sees.
    #[track_caller]
    pub fn resize(&self, columns: u16, rows: u16) {
        let resized = Command::new("stty")
            .args(["rows", &rows.to_string(), "cols", &columns.to_string()])
            .stdin(Stdio::from(self.keys.try_clone().expect("cloned")))
            .status();
        assert!(resized.expect("stty runs").success());
    }

    /// Waits until `text` is shown. Returns the output up to the end of `text`, and removes it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + HANG;
        loop {
            if let Some(at) = self.shown.find(text) {
                return self.shown.drain(..at + text.len()).collect();
            }
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.shown);
            let mut source = [PollFd::new(self.keys.as_fd(), PollFlags::POLLIN)];
            if poll(&mut source, PollTimeout::from(100u8)).expect("poll") == 0 {
                continue;
            }
            let mut chunk = [0; 4096];
            let len = self.keys.read(&mut chunk).unwrap_or(0);
            assert!(len > 0, "the output ended without {text:?}: {:?}", self.shown);
            self.shown.push_str(&String::from_utf8_lossy(&chunk[..len]));
        }
    }

    /// Waits until the program has ended with this code.
    #[track_caller]
    pub fn expect_end(&mut self, code: i32) {
        assert_eq!(wait_for_end(&mut self.child), Some(code), "{:?}", self.shown);
    }

    /// Takes the terminal away from the program.
    pub fn hang_up(&mut self) {
        self.keys = File::open("/dev/null").expect("open");
    }

    /// The local modes of the terminal, such as echo and signals by keys.
    pub fn local_modes(&self) -> LocalFlags {
        tcgetattr(&self.keys).expect("a terminal").local_flags
    }

    /// The process number of `setsid`, which leads the session and waits for the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The program gets SIGHUP when its terminal is closed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
