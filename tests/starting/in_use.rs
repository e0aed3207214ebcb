//! A port or a directory that is in use.

use std::net::TcpListener;

use dipc_testkit::directory::fingerprint;
use dipc_testkit::instance::{BaseDirectory, FILES, winner_of};
use dipc_testkit::port::Port;
use dipc_testkit::process::{run, run_both};

#[test]
fn a_port_that_another_program_serves_is_in_use() {
    let base = BaseDirectory::new();
    let other = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = other.local_addr().expect("bound").port();
    let outcome = run(&mut base.dipc(&format!("4 64 {port} 8")));
    outcome.expect_failure(3, &format!("port {port} is in use"));
    base.expect_nothing_left();
    base.dipcrm(port).expect_failure(3, "a process of this user listens on port");
}

#[test]
fn a_second_server_changes_nothing_of_the_first() {
    let (base, other) = (BaseDirectory::new(), BaseDirectory::new());
    let first = base.start("4 64 0 8");
    let port = first.port;
    first.connect().ask("w 0\nhello\n", "OK v=1\n");
    let before = fingerprint(&base.join(port.to_string()));
    let in_use = format!("port {port} is in use");
    run(&mut base.dipc(&format!("4 64 {port} 8"))).expect_failure(3, &in_use);
    run(&mut base.dipc(&format!("4 64 {port} 8 --fresh"))).expect_failure(3, &in_use);
    run(&mut base.dipc(&format!("5 64 {port} 8"))).expect_failure(3, &in_use);
    let of_another = run(&mut other.dipc(&format!("4 64 {port} 8")));
    of_another.expect_failure(3, &in_use);
    assert!(!of_another.stderr.contains("pid"), "{of_another:?}");
    // The server of the same instance is named, with the command that stops it.
    let own = run(&mut base.dipc(&format!("4 64 {port} 8"))).stderr;
    assert!(own.contains(&format!("your dipc (pid {}) runs in", first.pid)), "{own}");
    assert!(own.ends_with(&format!("dipcrm {port} --dir {}\n", base.path().display())), "{own}");
    // The port is free at this address, but the instance is in use.
    let elsewhere = format!("4 64 {port} 8 --bind 127.0.0.2 --fresh");
    run(&mut base.dipc(&elsewhere)).expect_failure(3, "a dipc runs in");
    assert_eq!(fingerprint(&base.join(port.to_string())), before);
    assert_eq!(base.processes(), [first.pid]);
    other.expect_nothing_left();
    first.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
}

#[test]
fn exactly_one_of_two_starts_on_one_port_wins() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    for _ in 0..40 {
        let winner = winner_of(run_both([base.dipc(&arguments), base.dipc(&arguments)]));
        assert_eq!(base.files(port.number), FILES);
        assert_eq!((base.pid_file(port.number), base.processes()), (winner.pid, vec![winner.pid]));
        winner.connect().ask("w 0\nhello\nr 0\n", "OK v=1\nDATA 5 v=1 n=1\nhello\n");
        base.dipcrm(port.number).expect_success();
        base.expect_nothing_left();
    }
}

#[test]
fn exactly_one_of_two_starts_on_one_port_in_two_directories_wins() {
    let (one, two, port) = (BaseDirectory::new(), BaseDirectory::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    for _ in 0..40 {
        let winner = winner_of(run_both([one.dipc(&arguments), two.dipc(&arguments)]));
        winner.connect().ask("ping\n", "OK\n");
        let (base, other) = if one.processes().is_empty() { (&two, &one) } else { (&one, &two) };
        assert_eq!((base.pid_file(port.number), base.processes()), (winner.pid, vec![winner.pid]));
        other.expect_nothing_left();
        base.dipcrm(port.number).expect_success();
    }
}
