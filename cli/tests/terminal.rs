//! `dipc-cli` on a terminal: the prompt, the chat, and control characters in data.

use dipc::client::Client;
use dipc_testkit::process::{has_ended, signal};
use dipc_testkit::server::Server;
use dipc_testkit::terminal::Terminal;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;
use nix::sys::termios::LocalFlags;

#[test]
fn the_prompt_completes_words_and_keeps_a_history() {
    let server = Server::start("4 64 0 8");
    let mut prompt = Terminal::start(&server, &[]);
    prompt.expect("dipc> ");
    prompt.press("wri\t3 two  blanks\r");
    prompt.expect("version 1\r\n");
    prompt.expect("dipc> ");
    prompt.press("read 9\r");
    prompt.expect("no mailbox 9; this server has 0 to 3");
    prompt.press("read 3\r");
    prompt.expect("two  blanks\r\n");
    // A put without a text asks for the text.
    prompt.press("put 2\r");
    prompt.expect("text> ");
    prompt.press("asked for\r");
    prompt.expect("count 1\r\n");
    // Ctrl-C ends a watch, and nothing else.
    prompt.press("watch 2 --after 0\r");
    prompt.expect("asked for\r\n");
    prompt.press("\x03");
    prompt.expect("dipc> ");
    // Ctrl-C also ends a watch while a command runs for the first of several messages.
    (0..3).for_each(|_| drop(server.run(&["put", "2", "more"])));
    prompt.press("watch 2 --after 0 -- sh -c 'echo got; exec sleep 1000'\r");
    prompt.expect("got\r\n");
    prompt.press("\x03");
    let meanwhile = prompt.expect("dipc> ");
    assert!(!meanwhile.contains("got"), "{meanwhile}");
    // Ctrl-C cancels the typing of a text.
    prompt.press("put 2\r");
    prompt.expect("text> ");
    prompt.press("\x03");
    prompt.expect("the text is missing");
    prompt.expect("dipc> ");
    prompt.press("w 2 if=1 x\r");
    prompt.expect("options are written --if V here");
    prompt.expect("dipc> ");
    prompt.press(b"read \xe9\r");
    prompt.expect("line is not UTF-8");
    prompt.expect("dipc> ");
    prompt.press("help\r");
    prompt.expect("take BOX");
    prompt.expect("dipc> ");
    prompt.press("--help\r");
    let listed = prompt.expect("dipc> ");
    assert!(listed.contains("watch") && !listed.contains("bench"), "{listed}");
    prompt.press("\x04");
    prompt.expect_end(0);
    let history = std::fs::read_to_string(server.directory.join("history")).expect("a history");
    assert!(history.contains("write 3 two  blanks\n") && !history.contains("asked for"), "{history}");
}

#[test]
fn ctrl_c_ends_a_wait_and_not_the_prompt() {
    let server = Server::start("4 64 0 8");
    let mut prompt = Terminal::start(&server, &[]);
    prompt.expect("dipc> ");
    prompt.press("take 3 --wait inf\r");
    wait_until("the taker waits", || server.stat_json(&["3"], "aside") == 1);
    prompt.press("\x03");
    prompt.expect("cancelled and reconnected");
    prompt.expect("dipc> ");
    prompt.press("put 3 kept\r");
    prompt.expect("count 1\r\n");
    prompt.expect("dipc> ");
    prompt.press("take 3\r");
    prompt.expect("kept\r\n");
    prompt.expect("dipc> ");
    // Ctrl-C cancels the wait for a lock, and the command does not run.
    let mut holder = Client::connect(("127.0.0.1", server.port)).expect("connected");
    holder.lock(&[3]).expect("locked").keep();
    prompt.press("lock 3 -- echo 'never' 'run'\r");
    wait_until("the locker waits", || server.stat_json(&["3"], "waiting") == 1);
    prompt.press("\x03");
    let meanwhile = prompt.expect("cancelled and reconnected");
    assert!(!meanwhile.contains("never run"), "{meanwhile}");
    prompt.expect("dipc> ");
    drop(holder);
    prompt.press("lock 3 -- sh -c 'echo \"box  $DIPC_BOX\"'\r");
    prompt.expect("box  3\r\n");
    prompt.expect("dipc> ");
    prompt.press("lock 3 -- echo 'open\r");
    prompt.expect("a quote is not closed");
    prompt.expect("dipc> ");
    // After a command under a lock, Ctrl-C works as before.
    prompt.press("take 0 --wait inf\r");
    wait_until("the taker waits", || server.stat_json(&["0"], "aside") == 1);
    prompt.press("\x03");
    prompt.expect("cancelled and reconnected");
    prompt.expect("dipc> ");
    prompt.press("\x04");
    prompt.expect_end(0);
}

/// Ctrl-C ends the command or the wait of an edit, and not the prompt. While the command runs, no request is
/// cancelled, so the connection keeps its locks.
#[test]
fn ctrl_c_ends_an_edit_and_not_the_prompt() {
    let server = Server::start("4 64 0 8");
    let mut prompt = Terminal::start(&server, &[]);
    prompt.expect("dipc> ");
    prompt.press("lock 3\r");
    prompt.expect("grant 1");
    prompt.expect("dipc> ");
    prompt.press("edit 3 -- sh -c 'echo u\"\"p >&2; exec sleep 1000'\r");
    prompt.expect("up\r\n");
    prompt.press("\x03");
    prompt.expect("mailbox 3 was not changed: the command was ended by SIGINT");
    prompt.expect("dipc> ");
    prompt.press("edit 3 -- echo edited\r");
    prompt.expect("version 1");
    prompt.expect("dipc> ");
    prompt.press("unlock 3\r");
    prompt.expect("dipc> ");
    let mut holder = server.connect();
    holder.lock("lock 2\n");
    prompt.press("edit 2 -- cat\r");
    prompt.expect("waiting for mailbox 2; Ctrl-C cancels");
    prompt.press("\x03");
    prompt.expect("cancelled and reconnected");
    prompt.expect("dipc> ");
    prompt.press("\x04");
    prompt.expect_end(0);
}

#[test]
fn the_prompt_outlives_its_server() {
    let mut server = Server::start("4 64 0 8");
    let mut prompt = Terminal::start(&server, &[]);
    prompt.expect("dipc> ");
    prompt.press("ping\r");
    prompt.expect("ok ");
    prompt.expect("dipc> ");
    prompt.press("hello anna\r");
    prompt.expect("server dipc/");
    prompt.expect("dipc> ");
    server.kill();
    prompt.press("ping\r");
    prompt.expect("cannot connect");
    prompt.expect("dipc> ");
    prompt.press("read --help\r");
    prompt.expect("Skip the first N bytes");
    prompt.expect("dipc> ");
    let again = Server::start(&format!("4 64 {} 8", server.port));
    prompt.press("ping\r");
    prompt.expect("reconnected");
    prompt.expect("ok ");
    prompt.expect("dipc> ");
    // The connection has its name again.
    prompt.press("stat conns\r");
    prompt.expect("name=anna ");
    prompt.expect("dipc> ");
    prompt.press("\x04");
    prompt.expect_end(0);
    drop(again);
}

#[test]
fn control_characters_are_escaped_on_a_terminal() {
    let server = Server::start("4 64 0 8");
    server.run(&["write", "3", "a\x1b]0;title\x07b\x1b[2J\rc"]).expect(0, "version 1\n");
    let mut read = Terminal::start(&server, &["read", "3"]);
    read.expect("a\\x1b]0;title\\x07b\\x1b[2J\\x0dc\r\n");
    read.expect_end(0);
    let mut empty = Terminal::start(&server, &["read", "0"]);
    empty.expect("the mailbox is empty");
    empty.expect_end(0);
}

#[test]
fn ctrl_c_ends_a_command_under_a_lock_and_unlocks() {
    let server = Server::start("4 64 0 8");
    let script = "trap 'echo once; exit 0' INT; echo up; while :; do sleep 0.01; done";
    let mut held = Terminal::start(&server, &["lock", "3", "--", "sh", "-c", script]);
    held.expect("up\r\n");
    held.press("\x03");
    held.expect("once\r\n");
    held.expect_end(0);
    server.run(&["lock", "3", "--wait", "0", "--", "true"]).expect(0, "");
}

#[test]
fn messages_of_a_chat_appear_above_the_typed_line() {
    let mut server = Server::start("4 64 0 8");
    let mut anna = Terminal::start(&server, &["chat", "1", "--name", "anna", "--retry", "0"]);
    let modes = anna.initial_modes;
    anna.expect("* anna joins");
    anna.expect("anna: ");
    anna.press("on");
    anna.expect("on");
    server.run(&["put", "1", "bob: in between\x1b[2J"]);
    anna.expect("bob: in between\\x1b[2J");
    anna.expect("anna: on");
    anna.press("e\r");
    anna.expect("anna: ");
    wait_until("the message is sent", || server.stat_json(&["1"], "version") == 3);
    server.run(&["read", "1"]).expect(0, "anna: one");
    // The client's own message is not shown twice, and no message of another client is erased.
    server.run(&["put", "1", "bob: two"]);
    let meanwhile = anna.expect("bob: two");
    assert!(!meanwhile.contains("anna: one") && !meanwhile.contains("\x1b[A"), "{meanwhile:?}");
    server.kill();
    anna.expect("the server closed the connection");
    anna.expect_end(3);
    assert_eq!(anna.local_modes(), modes);
}

#[test]
fn a_chat_ends_with_its_input() {
    let server = Server::start("4 64 0 8");
    for keys in ["\x04", "\x03", "a signal"] {
        let mut anna = Terminal::start(&server, &["chat", "1", "--name", "anna"]);
        let modes = anna.initial_modes;
        anna.expect("* anna joins");
        anna.expect("anna: ");
        match keys {
            "a signal" => signal(anna.pid(), Signal::SIGTERM),
            _ => anna.press(keys),
        }
        anna.expect("* anna leaves");
        anna.expect_end(0);
        assert_eq!(anna.local_modes(), modes, "{keys:?}");
    }
}

#[test]
fn the_prompt_says_where_it_is_and_what_a_command_waits_for() {
    let server = Server::start("4 64 0 8");
    let mut prompt = Terminal::start(&server, &[]);
    prompt.expect(&format!("connected to dipc://127.0.0.1:{}; help lists the commands", server.port));
    let mut holder = server.connect();
    holder.lock("lock 2\n");
    // A text is asked for before the wait begins.
    prompt.expect("dipc> ");
    prompt.press("write 2 --wait inf\r");
    prompt.expect("text> ");
    prompt.press("slowly typed\r");
    prompt.expect("waiting for mailbox 2; Ctrl-C cancels");
    prompt.press("\x03");
    prompt.expect("cancelled and reconnected");
    for (line, awaited) in [
        ("take 3 --wait inf", "a message in mailbox 3"),
        ("read 3 --after 0 --wait inf", "a new message in mailbox 3"),
        ("write 2 --wait inf x", "mailbox 2"),
        ("lock 2 --wait inf -- true", "mailbox 2"),
    ] {
        prompt.expect("dipc> ");
        prompt.press(format!("{line}\r"));
        prompt.expect(&format!("waiting for {awaited}; Ctrl-C cancels"));
        prompt.press("\x03");
        prompt.expect("cancelled and reconnected; your locks have been released");
    }
}

/// A terminal with an encoding of 8 bits shows two wrong characters for each of these.
#[test]
fn characters_that_the_encoding_of_the_terminal_lacks_are_replaced() {
    let server = Server::start("4 64 0 8");
    server.run(&["write", "3", "gr\u{fc}n"]).expect(0, "version 1\n");
    let mut terminal = Terminal::start_in(&server, &["read", "3"], &[("LC_ALL", "de_DE.ISO-8859-1")]);
    terminal.expect("gr?n\r\n");
    let mut terminal = Terminal::start_in(&server, &["read", "3"], &[("LC_ALL", "de_DE.UTF-8")]);
    terminal.expect("gr\u{fc}n\r\n");
}

#[test]
fn q_leaves_top_and_a_signal_restores_the_terminal() {
    let server = Server::start("4 64 0 8");
    for (key, code) in [("xq", Some(0)), ("\x03", None)] {
        let mut top = Terminal::start(&server, &["top"]);
        let before = top.initial_modes;
        top.expect("HOLDERS");
        wait_until("keys are not shown", || !top.local_modes().contains(LocalFlags::ECHO));
        top.press(key);
        // None: the program was killed by SIGINT.
        code.into_iter().for_each(|code| top.expect_end(code));
        wait_until("the terminal is restored", || top.local_modes() == before);
    }
}

#[test]
fn top_fits_its_terminal() {
    let server = Server::start("64 64 0 8");
    let mut top = Terminal::start(&server, &["top"]);
    top.resize(60, 12);
    top.expect("and 58 more\r\n");
    top.expect("\x1b[H\x1b[J");
    let shown = top.expect("and 58 more\r\n");
    assert!(shown.lines().all(|line| line.len() <= 60), "{shown}");
    assert_eq!(shown.lines().count(), 11, "{shown}");
}

/// On a terminal the command has no process group of its own, so each of its descendants is killed by a
/// signal to itself.
#[test]
fn a_process_in_the_session_of_the_terminal_ends_with_the_lock() {
    let mut server = Server::start("4 64 0 8");
    let script = "(trap '' TERM HUP; sleep 1000 & echo pid $! is up); cat";
    let words = ["lock", "3", "--ttl", "0.6", "--", "sh", "-c", script];
    let mut held = Terminal::start(&server, &words);
    held.expect("pid ");
    let pid = held.expect(" is up\r\n").trim_end_matches(" is up\r\n").parse().expect("a number");
    assert!(!has_ended(pid), "{pid}");
    server.kill();
    held.expect("the lock of mailbox 3 is lost");
    wait_until("the process has ended", || has_ended(pid));
}

/// Only the leader of the session gets SIGHUP. Here dipc-cli is the leader.
#[test]
fn a_terminal_that_hangs_up_ends_the_command() {
    let server = Server::start("4 64 0 8");
    let mut held = Terminal::start(&server, &["lock", "3", "--", "sh", "-c", "echo up; exec sleep 1000"]);
    held.expect("up\r\n");
    held.hang_up();
    wait_until("the lock is free", || server.stat_json(&["3"], "held") == "free");
}

#[test]
fn a_lock_lost_while_a_command_runs_under_another_lock_is_reported() {
    let server = Server::start("4 64 0 8");
    let mut prompt = Terminal::start(&server, &[]);
    prompt.expect("dipc> ");
    prompt.press("lock 1 --ttl 0.05\r");
    prompt.expect("grant 1\r\n");
    prompt.expect("dipc> ");
    prompt.press("lock 2 -- sleep 1000\r");
    prompt.expect("the lock of mailbox 1 is lost");
    prompt.press("\x03");
    prompt.expect("dipc> ");
}

#[test]
fn a_bench_shows_its_progress() {
    let server = Server::start("4 64 0 8");
    let mut bench = Terminal::start(&server, &["bench", "--seconds", "2", "--warmup", "1", "-t", "rw50"]);
    bench.expect("\rwarm-up   [");
    bench.expect("\rrw50      [#");
    bench.expect("/s");
    bench.expect("\r\x1b[Kdipc rw50: ");
    bench.expect_end(0);
}
