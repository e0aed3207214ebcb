//! `dipc --takeover`: a new server takes over from the running one.

mod clients;
mod killed;
mod listeners;
mod load;
mod refused;
mod relay;
mod removing;
mod starting;

use dipc_testkit::client::Client;
use dipc_testkit::instance::{BaseDirectory, Instance, start};
use dipc_testkit::port::Port;
use dipc_testkit::process::has_ended;
use dipc_testkit::wait::wait_until;

/// A running server, and the arguments of it and its successors.
struct Scene {
    base: BaseDirectory,
    port: Port,
    /// The arguments behind the numbers.
    options: String,
    server: Instance,
}

impl Scene {
    #[track_caller]
    fn new() -> Self {
        Scene::with(|_| String::new())
    }

    /// A server with further options, which may be files in its base directory.
    #[track_caller]
    fn with(options: impl FnOnce(&BaseDirectory) -> String) -> Self {
        let (base, port) = (BaseDirectory::new(), Port::reserve());
        let options = options(&base);
        let server = base.start(&format!("8 64 {} 8 {options}", port.number));
        Scene { base, port, options, server }
    }

    /// The arguments of a successor.
    fn arguments(&self) -> String {
        format!("8 64 {} 8 --takeover {}", self.port.number, self.options)
    }

    /// Lets a new server take over, and waits for the end of the old one.
    #[track_caller]
    fn take_over(&mut self) {
        let old = self.server.pid;
        self.server = start(&mut self.base.dipc(&self.arguments()));
        assert_ne!(self.server.pid, old);
        wait_until("the old server ends", || has_ended(old));
        assert_eq!(self.base.processes(), [self.server.pid]);
    }

    /// Starts a server after the last one has ended.
    #[track_caller]
    fn start_again(&mut self) {
        self.server = self.base.start(&format!("8 64 {} 8 {}", self.port.number, self.options));
    }

    #[track_caller]
    fn epoch(&self) -> u64 {
        self.server.connect().stat("epoch")
    }

    /// Expects that the first server serves as before, and that nothing has changed.
    #[track_caller]
    fn expect_undisturbed(&self) {
        assert_eq!(pid_of(&mut self.server.connect()), self.server.pid);
        assert_eq!(self.base.pid_file(self.port.number), self.server.pid);
        assert_eq!(self.epoch(), 1);
    }
}

/// The process that serves a client.
#[track_caller]
fn pid_of(client: &mut Client) -> i32 {
    i32::try_from(client.stat("pid")).expect("a process id")
}
