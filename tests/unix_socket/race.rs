//! Two starts on one path at the same time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use dipc_testkit::client::Client;
use dipc_testkit::directory::Directory;
use dipc_testkit::port::port_in;
use dipc_testkit::wait::HANG;

use crate::dipc;

/// A server in the foreground that may fail to start. It is killed when this is dropped.
struct Starting {
    child: Child,
    line: mpsc::Receiver<String>,
}

impl Starting {
    fn new(command: &mut Command) -> Self {
        let mut child = command
            .arg("--foreground")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (tell, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = tell.send(line);
        });
        Starting { child, line }
    }

    /// The port on which it serves; `None` when it has ended instead.
    fn port(&self) -> Option<u16> {
        port_in(&self.line.recv_timeout(HANG).expect("it starts or ends"))
    }

    fn end(&mut self) -> (Option<i32>, String) {
        let code = self.child.wait().expect("our child").code();
        (code, std::io::read_to_string(self.child.stderr.take().expect("piped")).expect("read"))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn exactly_one_of_two_starts_on_one_path_wins() {
    let (home, directory) = (Directory::new(), Directory::new());
    let path = directory.path().join("socket");
    for round in 0..40 {
        let start = || Starting::new(&mut dipc(home.path(), "4 64 0 8", &path));
        let both = [start(), start()];
        let ports = [both[0].port(), both[1].port()];
        let [one, two] = both;
        let (port, mut winner, mut loser) = match ports {
            [Some(port), None] => (port, one, two),
            [None, Some(port)] => (port, two, one),
            _ => panic!("round {round}: the ports are {ports:?}"),
        };
        let (code, said) = loser.end();
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("somebody listens on"), "{said}");
        assert_eq!(Client::unix(&path).stat("pid"), u64::from(winner.child.id()));
        Client::tcp(port).ask("ping\n", "OK\n");
        // Only the winner has an instance.
        assert_eq!(fs::read_dir(home.path()).expect("ours").count(), 1);
        fs::remove_dir_all(home.path().join(port.to_string())).expect("removed");
        // In most rounds both find the socket of the winner before.
        winner.child.kill().expect("our child");
        winner.end();
        if round % 4 == 0 {
            fs::remove_file(&path).expect("a leftover");
        }
    }
}
