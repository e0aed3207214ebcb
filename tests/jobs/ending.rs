//! How a message in hand ends: `done`, `back`, a silence, the end of its connection, or of the server.

use dipc_testkit::server::Server;
use nix::sys::signal::Signal;

use crate::{small, with_messages};

#[test]
fn a_message_in_hand_stays_in_the_mailbox_until_it_is_done() {
    let (server, mut worker) = with_messages(&["a", "b"]);
    worker.ask("take 0 ttl=60\n", "DATA 1 v=1 n=2 tries=1\na\n");
    assert_eq!(server.stat_box(0, "in_hand"), 1);
    assert_eq!(server.stat_box(0, "messages"), 2);
    let mut reader = server.connect();
    reader.ask("r 0 after=0\n", "DATA 1 v=1 n=2\na\n");
    worker.ask("done 0 v=1\n", "OK n=1\n");
    reader.ask("r 0 after=0\n", "DATA 1 v=2 n=1 lost=1\nb\n");
    assert_eq!(server.stat_box(0, "in_hand"), 0);
    worker.ask(
        "done 0 v=1\n",
        "ERR lease : this connection does not have that message in hand, or no longer\n",
    );
    assert_eq!((server.stat("takes"), server.stat("dones"), server.stat("err_lease")), (1, 1, 1));
}

#[test]
fn a_message_that_is_given_back_is_the_next_one_again() {
    let (server, mut worker) = with_messages(&["a", "b", "c"]);
    worker.ask("take 0 ttl=\ntake 0 ttl=\n", "DATA 1 v=1 n=3 tries=1\na\nDATA 1 v=2 n=3 tries=1\nb\n");
    worker.ask("back 0 v=1\n", "OK\n");
    let mut other = server.connect();
    other.ask("take 0 ttl=\ntake 0 ttl=\n", "DATA 1 v=1 n=3 tries=2\na\nDATA 1 v=3 n=3 tries=1\nc\n");
    worker.ask("done 0 v=2\n", "OK n=2\n");
    other.ask("done 0 v=1\ndone 0 v=3\n", "OK n=1\nOK n=0\n");
    assert_eq!(server.stat("backs"), 1);
}

#[test]
fn the_end_of_the_connection_gives_back_in_the_old_order() {
    let (server, mut worker) = with_messages(&["a", "b", "c"]);
    worker.ask(
        "take 0 ttl=60\ntake 0 ttl=60\ntake 0 ttl=60\n",
        "DATA 1 v=1 n=3 tries=1\na\nDATA 1 v=2 n=3 tries=1\nb\nDATA 1 v=3 n=3 tries=1\nc\n",
    );
    worker.ask("done 0 v=2\n", "OK n=2\n");
    let mut other = server.enqueue("take 0 ttl=60\n");
    worker.reset();
    other.expect("DATA 1 v=1 n=2 tries=2\na\n");
    other.ask("take 0\n", "DATA 1 v=3 n=1\nc\n");
    assert_eq!(server.stat("given_back"), 2);
}

#[test]
fn a_client_that_leaves_right_after_its_take_loses_nothing() {
    let (server, _) = with_messages(&["a"]);
    for tries in 1..=50 {
        let mut leaving = server.connect();
        leaving.send("take 0 ttl=60 wait=inf\nq\n");
        let answer = leaving.read_to_end();
        assert_eq!(String::from_utf8_lossy(&answer), format!("DATA 1 v=1 n=1 tries={tries}\na\n"));
    }
    server.wait_for_stat("given_back", |count| count == 50);
    assert_eq!(server.stat_box(0, "in_hand"), 0);
}

#[test]
fn a_silence_gives_back_and_the_client_is_told() {
    let (server, mut worker) = with_messages(&["a", "b"]);
    worker.ask("take 0 ttl=60\ntake 0 ttl=.02\n", "DATA 1 v=1 n=2 tries=1\na\nDATA 1 v=2 n=2 tries=1\nb\n");
    worker.expect("EVENT 0 box=0 v=2 lost=take\n\n");
    worker.ask(
        "done 0 v=2\n",
        "ERR lease : this connection does not have that message in hand, or no longer\n",
    );
    // The other one has more time.
    worker.ask("done 0 v=1\n", "OK n=1\n");
    server.connect().ask("take 0 ttl=60\n", "DATA 1 v=2 n=1 tries=2\nb\n");
}

#[test]
fn a_request_that_waits_keeps_the_message_in_hand() {
    let (server, mut worker) = with_messages(&["a"]);
    worker.ask("take 0 ttl=.1\n", "DATA 1 v=1 n=1 tries=1\na\n");
    let mut holder = server.connect();
    holder.ask("lock 1\n", "OK grant=1\n");
    server.send_waiting(&mut worker, "r 1 wait=inf\n");
    // The wait is longer than the time of the message.
    let mut other = server.connect();
    other.ask("take 0 ttl=60 wait=.3\n", "NO empty\n");
    holder.ask("unlock 1\n", "OK\n");
    worker.expect("DATA 0 v=0 n=0\n\n");
    worker.expect("EVENT 0 box=0 v=1 lost=take\n\n");
    other.ask("take 0 ttl=60\n", "DATA 1 v=1 n=1 tries=2\na\n");
}

#[test]
fn each_request_renews_the_time() {
    let (server, mut worker) = with_messages(&["a"]);
    worker.ask("take 0 ttl=.5\n", "DATA 1 v=1 n=1 tries=1\na\n");
    let mut clock = server.connect();
    for _ in 0..5 {
        // A wait for a message that does not come takes its full time.
        clock.ask("take 1 wait=.2\n", "NO empty\n");
        worker.ask("ping\n", "OK\n");
    }
    worker.ask("done 0 v=1\n", "OK n=0\n");
}

#[test]
fn after_a_kill_every_message_that_was_not_done_is_there() {
    let arguments = "1 1 0 1";
    let mut server = Server::start(arguments);
    let mut worker = server.connect();
    for message in ["a", "b", "c", "d", "e"] {
        worker.send(format!("put 0\n{message}\n"));
        assert!(worker.line().starts_with("OK "));
    }
    for _ in 0..5 {
        worker.send("take 0 ttl=60\n");
        worker.data();
    }
    worker.ask("done 0 v=2\ndone 0 v=5\nback 0 v=3\n", "OK n=4\nOK n=3\nOK\n");
    server.kill();
    server.restart(&format!("1 1 {} 1", server.port));
    let mut worker = server.connect();
    worker.ask("r 0\n", "DATA 1 v=5 n=3\nd\n");
    worker.ask("r 0 after=1\n", "DATA 1 v=3 n=3 lost=1\nc\n");
    for (version, message) in [(1, "a"), (3, "c"), (4, "d")] {
        worker.ask("take 0 ttl=60\n", format!("DATA 1 v={version} n=3 tries=1\n{message}\n"));
    }
    worker.ask("take 0 ttl=60 wait=0\n", "NO empty\n");
    worker.ask("done 0 v=1\ndone 0 v=4\ndone 0 v=3\n", "OK n=2\nOK n=1\nOK n=0\n");
}

#[test]
fn the_time_of_a_message_may_be_longer_than_a_lock_may_last() {
    let server = Server::start("1 1 0 1 --max-hold 0.05");
    let mut worker = server.connect();
    worker.ask("put 0\na\n", "OK v=1 n=1\n");
    worker.ask("take 0 ttl=60\n", "DATA 1 v=1 n=1 tries=1\na\n");
    let mut other = server.connect();
    other.ask("take 0 ttl=60 wait=.2\n", "NO empty\n");
    worker.ask("done 0 v=1\n", "OK n=0\n");
}

#[test]
fn a_stop_gives_back() {
    let mut server = small();
    let mut worker = server.connect();
    worker.ask("put 0\na\n", "OK v=1 n=1\n");
    worker.ask("take 0 ttl=60\n", "DATA 1 v=1 n=1 tries=1\na\n");
    server.signal(Signal::SIGTERM);
    worker.expect_end();
    assert_eq!(server.wait(), Some(0));
    server.restart(&format!("4 1 {} 1", server.port));
    server.connect().ask("take 0 ttl=60\n", "DATA 1 v=1 n=1 tries=1\na\n");
}
