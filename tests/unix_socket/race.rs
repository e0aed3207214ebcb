//! Two starts on one path at the same time.

use std::fs;
use std::io;
use std::process::{Command, Stdio};

use dipc_testkit::client::Client;
use dipc_testkit::directory::{Directory, names};
use dipc_testkit::port::port_in;
use dipc_testkit::process::{KillOnDrop, first_line, wait_for_end};

use crate::dipc;

fn start_in_foreground(command: &mut Command) -> KillOnDrop {
    let command = command.arg("--foreground").stdout(Stdio::piped()).stderr(Stdio::piped());
    KillOnDrop(command.spawn().expect("dipc runs"))
}

#[test]
fn exactly_one_of_two_starts_on_one_path_wins() {
    let (base, directory) = (Directory::new(), Directory::new());
    let path = directory.path().join("socket");
    for round in 0..40 {
        let start = || start_in_foreground(&mut dipc(base.path(), "4 64 0 8", &path));
        let mut both = [start(), start()];
        let ports = both.each_mut().map(|start| port_in(&first_line(&mut start.0)));
        let [one, two] = both;
        let (port, mut winner, mut loser) = match ports {
            [Some(port), None] => (port, one, two),
            [None, Some(port)] => (port, two, one),
            _ => panic!("round {round}: the ports are {ports:?}"),
        };
        let code = wait_for_end(&mut loser.0);
        let message = io::read_to_string(loser.0.stderr.take().expect("piped")).expect("read");
        assert_eq!(code, Some(3), "{message}");
        assert!(message.contains("another server listens on"), "{message}");
        assert_eq!(Client::unix(&path).stat("pid"), u64::from(winner.0.id()));
        Client::tcp(port).ask("ping\n", "OK\n");
        // Only the winner has an instance.
        assert_eq!(names(base.path()), [port.to_string()]);
        fs::remove_dir_all(base.path().join(port.to_string())).expect("removed");
        // In most rounds, both starts find the socket of the winner of the round before.
        winner.0.kill().expect("our child");
        wait_for_end(&mut winner.0);
        if round % 4 == 0 {
            fs::remove_file(&path).expect("a leftover");
        }
    }
}
