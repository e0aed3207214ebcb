//! Messages in hand at the prompt: `take --ttl`, `done` and `back`.

use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::terminal::Terminal;
use dipc_testkit::wait::wait_until;
use serde_json::{Value, json};

#[test]
fn a_message_in_hand_is_printed_and_stays_until_it_is_done() {
    let server = Server::start("4 64 0 8");
    let ran = server.run_with(
        &[],
        "put 1 one\nput 1 two\ntake 1 --ttl 60\ntake 1 --ttl 60\nback 1 1\ntake 1 --ttl 60\n\
         stat 1\ndone 1 1\ndone 1 2\n",
    );
    let text = ran.text();
    assert!(text.starts_with("version 1\ncount 1\nversion 2\ncount 2\none\ntwo\none\n"), "{ran:?}");
    assert!(text.contains("in_hand 2\n") && text.ends_with("count 1\ncount 0\n"), "{ran:?}");
    let notes = "dipc-cli: version 1, messages 2, tries 1\ndipc-cli: version 2, messages 2, tries 1\n\
                 dipc-cli: version 1, messages 2, tries 2\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), notes));
    server.run_with(&[], "done 1 1\n").expect_failure(2, "lease");
    server.run_with(&[], "back 1 1\n").expect_failure(2, "lease");
}

#[test]
fn a_message_in_hand_is_printed_as_json() {
    let server = Server::start("4 64 0 8");
    let lines = "put 1 one\ntake 1 --ttl 60\nback 1 1\ntake 1 --ttl 60\ndone 1 1\n";
    let ran = server.run_with(&["--json", "-v"], lines);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let taken = |tries: u64| json!({ "mailbox": 1, "version": 1, "count": 1, "tries": tries, "data": "one" });
    let values =
        ran.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>();
    assert_eq!(values[1..], [taken(1), json!({ "ok": true }), taken(2), json!({ "count": 0 })]);
}

#[test]
fn a_message_in_hand_is_given_back_when_the_prompt_ends() {
    let server = Server::start("4 64 0 8");
    server.run_with(&[], "put 1 one\ntake 1 --ttl 60\n").expect(0, "version 1\ncount 1\none\n");
    let again = server.run_with(&["--json"], "take 1 --ttl 60\ndone 1 1\n").text();
    assert!(again.contains("\"tries\":2"), "{again}");
    server.run(&["take", "1", "--wait", "0"]).expect_failure(1, "empty");
}

/// A single command has no message in hand: its connection ends with it.
#[test]
fn outside_of_the_prompt_nothing_is_taken_in_hand() {
    let server = Server::start("4 64 0 8");
    server.run(&["put", "1", "one"]).expect(0, "version 1\ncount 1\n");
    for words in [&["done", "1", "1"][..], &["back", "1", "1"], &["take", "1", "--ttl", "60"]] {
        server.run(words).expect_failure(2, "of the prompt");
    }
    assert_eq!(server.run_with(&["--json"], "take 1 --ttl 60\n").json()["tries"], 1);
}

/// The mailbox is locked: the requests wait, and say what for.
#[test]
fn done_and_back_wait_for_a_locked_mailbox() {
    let server = Server::start("4 64 0 8");
    let mut prompt = Terminal::start(&server, &[]);
    prompt.expect("dipc> ");
    prompt.press("put 1 one\r");
    prompt.expect("dipc> ");
    prompt.press("take 1 --ttl 60\r");
    prompt.expect("version 1, messages 1, tries 1\r\none\r\n");
    prompt.expect("dipc> ");
    let mut holder = server.connect();
    holder.lock("lock 1\n");
    for line in ["done 1 1\r", "back 1 1\r"] {
        prompt.press(line);
        prompt.expect("waiting for mailbox 1; Ctrl-C cancels");
        prompt.press("\x03");
        prompt.expect(
            "cancelled and reconnected; your locks have been released, and messages in hand given back",
        );
        prompt.expect("dipc> ");
    }
}

#[test]
fn a_message_that_is_lost_is_reported() {
    const LOST: &str = "message 1 of mailbox 1 is no longer in hand: it was given back";
    let server = Server::start("4 64 0 8");
    // The other dipc-cli gets the message as soon as it is lost.
    let lines = format!("put 1 one\ntake 1 --ttl 0.05\nedit 2 -- {} take 1\ndone 1 1\n", program::dipc_cli());
    let ran = server.run_with(&[], lines);
    assert!(ran.code == Some(2) && ran.stderr.contains(LOST) && ran.stderr.contains("lease"), "{ran:?}");
    // Commands that read events themselves.
    for line in ["lock 2 -- sleep 1000\r", "watch 2\r"] {
        let server = Server::start("4 64 0 8");
        let mut prompt = Terminal::start(&server, &[]);
        prompt.expect("dipc> ");
        prompt.press("put 1 one\r");
        prompt.expect("dipc> ");
        prompt.press("take 1 --ttl 1\r");
        prompt.expect("dipc> ");
        prompt.press(line);
        prompt.expect(LOST);
        wait_until("the message is back", || server.stat_json(&["1"], "in_hand") == 0);
        prompt.press("\x03");
        prompt.expect("dipc> ");
    }
}
