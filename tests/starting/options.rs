//! Options on the command line and in the environment.

use std::fs;

use dipc_testkit::client::Client;
use dipc_testkit::directory::names;
use dipc_testkit::instance::{BaseDirectory, start, start_in_foreground};
use dipc_testkit::process::{bare, run};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

#[test]
fn wrong_arguments_are_usage_errors() {
    let base = BaseDirectory::new();
    let wrong = [
        "4",
        "4 64",
        "4 64 0 8 9",
        "0 64 0 8",
        "4 0 0 8",
        "4 64 0 0",
        "-4 64 0 8",
        "four 64 0 8",
        "4 64 65536 8",
        "4 64 http 8",
        "4294967296 64 0 8",
        "4 4194304 0 8",
        "4 64 0 99999999999999999999",
        "4 64 0 8 --workers 0",
        "4 64 0 8 --max-clients 0",
        "4 64 0 8 --wait -1",
        "4 64 0 8 --wait soon",
        "4 64 0 8 --bind nowhere",
        "4 64 0 8 --log-level loud",
        "4 64 0 8 --frehs",
        "4294967295 2097151 0 8",
        "4 64 0 8 --resize --fresh",
    ];
    for arguments in wrong {
        let outcome = run(&mut base.dipc(arguments));
        assert_eq!((outcome.code, &*outcome.text()), (Some(2), ""), "{arguments}: {outcome:?}");
        assert!(!outcome.stderr.trim().is_empty(), "{arguments}: no reason");
    }
    for arguments in [&[][..], &["0"], &["http"], &["65536"], &["5000", "5001"], &["--now", "5000"]] {
        let outcome = run(bare(program::dipcrm()).args(arguments).env("DIPC_DIR", base.path()));
        assert_eq!((outcome.code, &*outcome.text()), (Some(2), ""), "{arguments:?}: {outcome:?}");
        assert!(!outcome.stderr.trim().is_empty(), "{arguments:?}: no reason");
    }
    base.expect_nothing_left();
}

#[test]
fn without_tcp_a_unix_socket_is_needed_and_no_option_of_tcp_is_valid() {
    let base = BaseDirectory::new();
    let with_socket = format!("--no-tcp --unix {}", base.join("socket").display());
    for (arguments, reason) in [
        ("4 64 5000 8 --no-tcp", "needs --unix"),
        (&format!("4 64 0 8 {with_socket}"), "needs a PORT above 0"),
        (&format!("4 64 5000 8 --classic 5001 {with_socket}"), "--classic listens on TCP"),
        (&format!("4 64 5000 8 --bind 127.0.0.1 {with_socket}"), "--bind is an address for TCP"),
        (&format!("4 64 5000 8 --open {with_socket}"), "--open allows clients over TCP"),
    ] {
        run(&mut base.dipc(arguments)).expect_failure(2, reason);
    }
    run(base.dipc("4 64 5000 8").env("DIPC_NO_TCP", "yes")).expect_failure(2, "needs --unix");
    base.expect_nothing_left();
    let server = start(base.dipc("4 64 0 8").env("DIPC_NO_TCP", "no"));
    server.connect().ask("ping\n", "OK\n");
}

/// Port 1 cannot be listened on by a user other than root, so a start with --low-port may fail.
#[test]
fn numbers_in_another_order_are_refused_with_the_likely_command() {
    let base = BaseDirectory::new();
    let refused = run(&mut base.dipc("5000 64 1 4"));
    refused.expect_failure(2, "The order is MAILBOXES SIZE_KB PORT PACKET_KB, for example: dipc 1 64 5000 4");
    assert!(refused.stderr.contains("add --low-port"), "{refused:?}");
    let meant = run(&mut base.dipc("5000 1 1 4 --low-port"));
    assert_ne!(meant.code, Some(2), "{meant:?}");
    if meant.code == Some(0) {
        base.dipcrm(1).expect_success();
    }
}

#[test]
fn help_and_version_exit_with_0() {
    for program in [program::dipc(), program::dipcrm()] {
        for option in ["--help", "--version"] {
            let outcome = run(bare(program).arg(option));
            assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{program} {option}");
            assert!(outcome.text().contains("dipc"), "{outcome:?}");
        }
    }
}

#[test]
fn every_option_can_come_from_the_environment() {
    let base = BaseDirectory::new();
    let mut dipc = bare(program::dipc());
    dipc.args(["4", "64", "0", "8"]).env("DIPC_DIR", base.path()).env("DIPC_UNIX", base.join("socket"));
    dipc.env("DIPC_LOG_FILE", base.join("log")).env("DIPC_LOG_LEVEL", "info").env("DIPC_BIND", "127.0.0.1");
    dipc.env("DIPC_WORKERS", "3")
        .env("DIPC_MAX_CLIENTS", "7")
        .env("DIPC_QUIET_MS", "0")
        .env("DIPC_WAIT", "1");
    dipc.env("DIPC_FOREGROUND", "no").env("DIPC_FRESH", "0").env("DIPC_OPEN", "false");
    let server = start(&mut dipc);
    let mut client = Client::unix(&base.join("socket"));
    assert_eq!([client.stat("workers"), client.stat("max_clients")], [3, 7]);
    client.ask("w 0\nhello\n", "OK v=1\n");
    server.end(Signal::SIGTERM);
    assert!(fs::read_to_string(base.join("log")).expect("a log").contains("7 clients"));

    // The command line overrides the environment.
    let number = server.port.to_string();
    dipc.args(["--workers", "2"]).env("DIPC_FRESH", "true");
    dipc.env("DIPC_FOREGROUND", "yes");
    let (_child, server) = start_in_foreground(&mut dipc);
    assert_eq!(server.connect().stat("workers"), 2);
    server.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    run(bare(program::dipcrm()).arg(server.port.to_string()).env("DIPC_DIR", base.path())).expect_success();
    run(bare(program::dipcrm()).arg(&number).env("DIPC_DIR", base.path())).expect_success();
    assert_eq!(names(base.path()), ["log"]);
}

#[test]
fn wrong_values_in_the_environment_are_usage_errors() {
    let base = BaseDirectory::new();
    let options = [
        "BIND",
        "OPEN",
        "NO_TCP",
        "WORKERS",
        "WAIT",
        "MAX_CLIENTS",
        "QUIET_MS",
        "FRESH",
        "FOREGROUND",
        "LOG_LEVEL",
    ];
    for option in options {
        let outcome = run(base.dipc("4 64 0 8").env(format!("DIPC_{option}"), "nonsense"));
        outcome.expect_failure(2, "nonsense");
    }
    base.expect_nothing_left();
}

#[test]
fn empty_variables_count_as_unset() {
    let base = BaseDirectory::new();
    let mut dipc = base.dipc("4 64 0 8");
    let names = [
        "BIND",
        "OPEN",
        "NO_TCP",
        "UNIX",
        "WORKERS",
        "WAIT",
        "MAX_HOLD",
        "MAX_CLIENTS",
        "QUIET_MS",
        "DIR",
        "FRESH",
        "FOREGROUND",
        "LOG_FILE",
        "LOG_LEVEL",
    ];
    for name in names {
        dipc.env(format!("DIPC_{name}"), "");
    }
    let server = start(&mut dipc);
    server.connect().ask("ping\n", "OK\n");
    let mut dipcrm = bare(program::dipcrm());
    dipcrm.arg(server.port.to_string()).env("DIPC_DIR", "");
    // The instance is not in the default directory.
    run(&mut dipcrm).expect_failure(3, &format!("/dev/shm/dipc-{}", geteuid()));
}

#[test]
fn the_size_of_packets_is_that_of_mailboxes_unless_it_is_given() {
    let server = Server::start("4 100 0");
    let mut client = server.connect();
    client.send("hello\n");
    let properties = client.line();
    assert!(properties.contains(" boxes=4 size=102400 packet=102400 "), "{properties}");
}
