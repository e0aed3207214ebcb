//! Every command, with every exit code.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use dipc_testkit::process::{KillOnDrop, finish, run};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::unistd::geteuid;
use serde_json::json;

#[test]
fn write_and_read_keep_every_byte() {
    let server = Server::start("4 64 0 8");
    server.run(&["write", "3", "hello", " world"]).expect(0, "version 1\n");
    server.run(&["read", "3"]).expect(0, "hello  world");
    let bytes = b"a\nb\r\x00\xff\x1b";
    server.run_with(&["w", "3"], bytes).expect(0, "version 2\n");
    server.run(&["r", "3"]).expect(0, bytes);
    let file = server.directory.join("file");
    fs::write(&file, bytes).expect("the file is written");
    server
        .run(&["put", "3", "--file", file.to_str().expect("a path in UTF-8")])
        .expect(0, "version 3\ncount 2\n");
    server.run(&["read", "3", "--after", "2"]).expect(0, bytes);
    server.run(&["read", "3", "--off", "2", "--len", "1"]).expect(0, "b");
    server.run_with(&["w", "2", "--file", "-"], bytes).expect(0, "version 1\n");
    server.run(&["r", "2"]).expect(0, bytes);
    server.run(&["write", "3", "--", "--text"]).expect(0, "version 4\n");
    server.run(&["write", "3", "--off", "2", "T"]).expect(0, "version 5\n");
    server.run(&["read", "3"]).expect(0, "--Text");
    server.run(&["read", "0"]).expect(0, "");
    server.run(&["write", "3", "-5"]).expect(0, "version 6\n");
    server.run(&["read", "3"]).expect(0, "-5");
}

#[test]
fn the_version_is_printed_instead_of_the_message_or_beside_it() {
    let server = Server::start("4 64 0 8");
    server.run(&["read", "3", "--version"]).expect(0, "0\n");
    let beside = |words: &[&str], stdout: &str, stderr: &str| {
        let ran = server.run(words);
        ran.expect(0, stdout);
        assert_eq!(ran.stderr, stderr, "{words:?}");
    };
    beside(&["write", "3", "one", "-v"], "version 1\n", "dipc-cli: version 1\n");
    beside(&["-v", "put", "3", "two"], "version 2\ncount 2\n", "dipc-cli: version 2, messages 2\n");
    beside(&["read", "3", "--verbose"], "two", "dipc-cli: version 2, messages 2\n");
    beside(&["read", "3", "--version"], "2\n", "");
    beside(&["read", "3", "--version", "--after", "0"], "1\n", "");
    beside(&["take", "3", "-v"], "one", "dipc-cli: version 1, messages 1\n");
    // As JSON, the version is in the output already.
    let json = json!({ "mailbox": 3, "version": 2, "count": 1, "lost": 0 });
    let ran = server.run(&["read", "3", "--version", "--json", "-v"]);
    assert_eq!((ran.json(), ran.stderr.as_str()), (json, ""));
    let prompt = server.run_with(&[], "read 3 --version\nwrite -v 3 it's -v\nread 3\n");
    prompt.expect(0, "2\nversion 3\nit's -v\n");
    assert_eq!(prompt.stderr, "dipc-cli: version 3\n");
    let ran = server.run(&["read", "3", "--version", "--after", "0"]);
    ran.expect(0, "3\n");
    assert_eq!(ran.stderr, "dipc-cli: 2 messages of mailbox 3 are lost\n");
    server.run(&["read", "3", "--version", "--off", "1"]).expect_failure(2, "cannot be used with");
    for version in ["--version", "-V"] {
        server.run(&[version]).expect(0, format!("dipc-cli {}\n", env!("CARGO_PKG_VERSION")));
    }
    // The version for write --if.
    let script = "v=$(\"$0\" read 3 --version) && \"$0\" write 3 --if \"$v\" x";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, program::dipc_cli()]);
    run(shell.env("DIPC_URL", format!("dipc://127.0.0.1:{}", server.port))).expect(0, "version 4\n");
}

#[test]
fn take_and_put_are_a_queue() {
    let server = Server::start("4 64 0 64");
    server.run(&["put", "1", "one"]).expect(0, "version 1\ncount 1\n");
    server.run(&["put", "1", "two"]).expect(0, "version 2\ncount 2\n");
    server.run(&["take", "1"]).expect(0, "one");
    server.run(&["take", "1"]).expect(0, "two");
    server.run(&["take", "1", "--wait", "0"]).expect_failure(1, "empty");
    let large = vec![b'x'; 60_000];
    server.run_with(&["put", "1"], &large).expect(0, "version 3\ncount 1\n");
    server.run_with(&["put", "1", "--wait", "0"], &large).expect_failure(1, "full");
    server.run_with(&["put", "1", "--drop"], &large).expect(0, "version 4\ncount 1\n");
}

#[test]
fn exit_codes_are_always_the_same() {
    let server = Server::start("4 64 0 8");
    server.run(&["write", "3", "hello"]).expect(0, "version 1\n");
    // Understood, not done.
    server.run(&["write", "3", "--if", "7", "x"]).expect_failure(1, "conflict (version 1)");
    server.run(&["read", "3", "--after", "1", "--wait", "0"]).expect_failure(1, "timeout (version 1)");
    server.run(&["put", "3", "x"]).expect(0, "version 2\ncount 2\n");
    server.run(&["write", "3", "--off", "1", "x"]).expect_failure(1, "multi");
    // Refused.
    server.run(&["read", "4"]).expect_failure(2, "no mailbox 4; this server has 0 to 3");
    server
        .run_with(&["write", "3"], [b'x'; 9000])
        .expect_failure(2, "the server's PACKET_KB allows 8192 bytes");
    server.run_with(&[], "unlock 3\n").expect_failure(2, "lease");
    server.run(&["unlock", "3"]).expect_failure(2, "a single command holds no lock. Use lock 3 -- COMMAND");
    // Usage.
    for line in [
        "read",
        "read x",
        "nonsense",
        "lock 3",
        "read 3 --wait soon",
        "stat x",
        "stat X",
        "write 3 x --file y",
        "-p 0 ping",
    ] {
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(server.run(&words).code, Some(2), "{line}");
    }
    server.run(&["write", "3", "--file", "/no/such/file"]).expect_failure(74, "/no/such/file");
    server.run(&["hello", "two words"]).expect_failure(2, "one word");
    // Full: the same command may succeed later.
    let full = Server::start("4 64 0 8 --max-clients 1");
    let _client = full.connect();
    full.run(&["write", "3", "x"]).expect_failure(75, "busy");
    // No connection.
    server.run(&["-p", "1", "ping"]).expect_failure(3, "cannot connect to dipc://127.0.0.1:1");
    server
        .run(&["-s", "/no/such/socket", "ping"])
        .expect_failure(3, "cannot connect to dipc+unix:///no/such");
    server.run(&["take", "0", "--timeout", "0.05"]).expect_failure(3, "silent for too long");
}

#[test]
fn a_wrong_number_is_answered_with_what_is_expected() {
    let server = Server::start("4 64 0 8");
    for (line, says) in [
        ("write Jobs x", "the number or the name of a mailbox is expected"),
        ("chat -1", "unexpected argument"),
        ("chat 1,2", "the number or the name of a mailbox is expected"),
        ("lock 3 echo hi", "put -- before a command"),
        ("watch 3 echo", "put -- before a command"),
        ("watch 1,X", "numbers or names of mailboxes are expected"),
        ("read 3 --off x", "a whole number is expected, 0 or larger"),
        ("write 3 --if v1 x", "a whole number is expected, 0 or larger"),
        ("watch 3 -n many", "a whole number is expected, 0 or larger"),
        ("read 3 --wait soon", "not a number of seconds"),
    ] {
        let words: Vec<_> = line.split(' ').collect();
        server.run(&words).expect_failure(2, says);
    }
}

#[test]
fn h_is_help_wherever_it_is() {
    let server = Server::start("4 64 0 8");
    for words in [vec!["-h"], vec!["read", "-h"], vec!["-h", "ping"], vec!["lock", "3", "-h", "--", "true"]] {
        let ran = server.run(&words);
        assert!(ran.code == Some(0) && ran.text().contains("Usage: dipc-cli"), "{words:?}: {ran:?}");
    }
}

#[test]
fn stat_shows_which_command_of_which_user_a_connection_is() {
    let server = Server::start("4 64 0 8");
    let name = |command: &mut Command| {
        let held = finish(command.env("USER", "an na=").spawn().expect("dipc-cli runs"), b"");
        held.json()[0]["name"].as_str().expect("a name").to_owned()
    };
    let is_of = |name: &str, command: &str| name.starts_with("an_na_@") && name.ends_with(command);
    let shown = name(&mut server.cli(&["stat", "conns", "--json"]));
    assert!(is_of(&shown, ":stat"), "{shown}");
    let within = ["--", program::dipc_cli(), "stat", "locks", "--json"];
    let locked = |options: &[&str]| name(&mut server.cli(&[&["lock", "3"], options, &within].concat()));
    let shown = locked(&[]);
    assert!(is_of(&shown, ":lock:dipc-cli"), "{shown}");
    assert_eq!(locked(&["--name", "deploy"]), "deploy");
    server.run(&["lock", "3", "--name", "a=b", "--", "true"]).expect_failure(2, "one word");
    // At the prompt, the connection exists before the lock.
    let prompt = server.run_with(&[], "lock 3 --name deploy\nstat locks --json\n").text();
    assert!(prompt.contains("\"name\":\"deploy\""), "{prompt}");
    let prompt = server.run_with(&[], "stat conns --json\n").text();
    assert!(prompt.contains(":prompt\""), "{prompt}");
}

#[test]
fn a_server_is_named_in_four_ways() {
    let server = Server::start_with_socket("4 64 0 8");
    let (port, socket) = (server.port.to_string(), server.socket().display().to_string());
    for words in [
        vec!["-H", "localhost", "-p", &port, "ping"],
        vec!["ping", "-p", &port],
        vec!["-s", &socket, "ping"],
        vec!["--url", &format!("dipc+unix://{socket}"), "ping"],
    ] {
        let ran = finish(server.cli(&words).env_remove("DIPC_URL").spawn().expect("dipc-cli runs"), b"");
        assert!(ran.stdout.starts_with(b"ok ") && ran.code == Some(0), "{words:?}: {ran:?}");
    }
    let with = |url: &str, words: &[&str]| {
        finish(server.cli(words).env("DIPC_URL", url).spawn().expect("dipc-cli runs"), b"")
    };
    with("http://x", &["ping"]).expect_failure(2, "DIPC_URL: neither dipc://host:port nor dipc+unix:///path");
    // DIPC_URL is not parsed if -s is given. An empty DIPC_URL is ignored.
    assert_eq!(with("http://x", &["ping", "-s", &socket]).code, Some(0));
    assert_eq!(with("", &["ping", "-p", &port]).code, Some(0));
}

#[test]
fn json_output_of_every_command() {
    let server = Server::start("4 64 0 8");
    assert_eq!(server.run(&["--json", "write", "3", "hello"]).json(), json!({ "version": 1 }));
    assert_eq!(server.run(&["put", "3", "x", "--json"]).json(), json!({ "version": 2, "count": 2 }));
    let read = json!({ "mailbox": 3, "version": 2, "count": 2, "lost": 0, "data": "x" });
    assert_eq!(server.run(&["read", "3", "--json"]).json(), read);
    server.run_with(&["write", "3"], b"\xff\x00").expect(0, "version 3\n");
    assert_eq!(server.run(&["take", "3", "--json"]).json()["base64"], json!("/wA="));
    assert_eq!(server.run(&["ping", "--json"]).json()["ok"], json!(true));
    assert_eq!(server.run(&["hello", "--json"]).json()["boxes"], json!(4));
    assert_eq!(server.run(&["stat", "--json"]).json()["mailboxes"], json!(4));
    assert_eq!(server.run(&["stat", "3", "--json"]).json()["locks"], json!([]));
    let conns = server.run(&["stat", "conns", "--json"]).json();
    assert_eq!(conns[0]["locks"], json!([]));
    let chat = server.run_with(&["chat", "1", "--name", "bob", "--json"], "hi\n");
    let lines = String::from_utf8(chat.stdout).expect("text");
    let said = json!({ "mailbox": 1, "version": 2, "lost": 0, "data": "bob: hi" }).to_string();
    assert_eq!(lines.lines().nth(1), Some(said.as_str()));
    let prompt = server.run_with(&["--json"], "help\nread --help\nnonsense\n");
    for line in [&String::from_utf8(prompt.stdout).expect("text"), &prompt.stderr]
        .into_iter()
        .flat_map(|text| text.lines())
    {
        serde_json::from_str::<serde_json::Value>(line).expect(line);
    }
    let wrong = server.run(&["read", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&wrong.stderr).expect("JSON");
    assert_eq!((wrong.code, &error["error"]), (Some(2), &json!("usage")));
    let failed = server.run(&["write", "3", "--if", "9", "x", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&failed.stderr).expect("JSON");
    assert_eq!((failed.code, &error["error"], &error["version"]), (Some(1), &json!("conflict"), &json!(3)));
}

#[test]
fn watch_prints_a_line_for_each_message() {
    let server = Server::start("4 64 0 8");
    for text in ["one", "two\n", "three"] {
        assert_eq!(server.run(&["put", "2", text]).code, Some(0));
    }
    server.run(&["take", "2"]).expect(0, "one");
    let ran = server.run(&["watch", "2", "--after", "0", "-n", "2"]);
    ran.expect(0, "two\nthree\n");
    assert!(ran.stderr.contains("1 message of mailbox 2 is lost"), "{ran:?}");
    server.run(&["watch", "2,3", "--after", "0", "-n", "1"]).expect(0, "2: two\n");
    let ahead = server.run(&["watch", "2,3", "--after", "9", "-n", "2"]);
    ahead.expect(0, "2: two\n2: three\n");
    assert!(ahead.stderr.contains("version 9 was never reached here"), "{ahead:?}");
    let json = server.run(&["watch", "2", "--after", "2", "-n", "1", "--json"]).json();
    assert_eq!(json, json!({ "mailbox": 2, "version": 3, "lost": 0, "data": "three" }));
}

/// A server whose machine is gone does not close the connection. Only the keepalive probes of the kernel
/// detect this.
#[test]
fn a_silent_server_is_probed_by_tcp_keepalive() {
    const KEEPALIVE_TIMER: &str = "02";
    let server = Server::start("4 64 0 8");
    let _watch = KillOnDrop(server.cli(&["watch", "2"]).spawn().expect("dipc-cli runs"));
    let to_server = format!("0100007F:{:04X}", server.port);
    wait_until("the keepalive timer runs", || {
        let sockets = fs::read_to_string("/proc/net/tcp").expect("the list of sockets");
        let mut lines = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.any(|words| words[2] == to_server && words[5].starts_with(KEEPALIVE_TIMER))
    });
}

#[test]
fn a_pipe_has_the_same_commands_line_by_line() {
    let server = Server::start("4 64 0 8");
    let ran = server.run_with(
        &[],
        "write 3   two  blanks \nread 3\nw 3\nthe next line\r\nr 3\n\n\
         lock 1 --ttl 60\nstat locks --json\nunlock *\nhelp\nquit\nnonsense\n",
    );
    let text = String::from_utf8(ran.stdout.clone()).expect("text");
    assert!(text.starts_with("version 1\ntwo  blanks \nversion 2\nthe next line\ngrant 1\n[{"), "{text}");
    assert!(text.contains("\"mode\":\"exclusive\"") && text.contains("take BOX"), "{text}");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let help = server.run_with(&[], "write --help\n");
    assert!(help.code == Some(0) && help.stdout.windows(4).any(|part| part == b"--if"), "{help:?}");
    // A failed command does not end the prompt. The exit code is the highest one of all commands.
    server.run_with(&[], "take 0 --wait 0\nping x\nread 3\n").expect(2, "the next line\n");
    server.run_with(&[], "take 0 --wait 0\nread 3").expect(1, "the next line\n");
    server.run_with(&[], "lock 1 --ttl 0.01\ntake 2 --wait 0.2\nunlock 1\n").expect(2, "grant 2\n");
}

#[test]
fn a_command_does_not_read_the_lines_of_the_prompt() {
    let server = Server::start("4 64 0 8");
    server.run(&["write", "3", "x"]).expect(0, "version 1\n");
    // The line of the command ends after 8192 bytes. The prompt reads that many bytes at once, so all later
    // lines are still in the pipe when `cat` runs.
    let chunk = format!("{:\n>8192}", "lock 1 -- cat\n");
    server.run_with(&[], chunk + "read 3\nread 3\n").expect(0, "x\nx\n");
}

#[test]
fn all_clients_of_a_chat_see_the_same_lines() {
    let server = Server::start("4 64 0 8");
    server.run(&["put", "1", "anna: \x1b[2Jhello\n* bob leaves"]).expect(0, "version 1\ncount 1\n");
    let ran = server.run_with(&["chat", "1", "--name", "bob"], "hi\nno end of line");
    let shown = "anna: \\x1b[2Jhello * bob leaves\n* bob joins\nbob: hi\nbob: no end of line\n* bob leaves\n";
    ran.expect(0, shown);
    server.run(&["watch", "1", "--after", "1", "-n", "1"]).expect(0, "* bob joins\n");
}

#[test]
fn a_chat_without_a_name_has_that_of_the_user() {
    let server = Server::start("4 64 0 8");
    let login = run(Command::new("id").arg("-un"));
    // Without an entry of the user, `id` prints only a message.
    let name = match login.code {
        Some(0) => login.text().trim_end().to_owned(),
        _ => format!("uid {}", geteuid()),
    };
    for (variable, name) in [("anna", "anna"), ("", &name)] {
        let chat = server.cli(&["chat", "1"]).env("USER", variable).spawn().expect("dipc-cli runs");
        let said = finish(chat, b"").text();
        assert!(said.ends_with(&format!("* {name} joins\n* {name} leaves\n")), "{said}");
    }
}

#[test]
fn a_chat_continues_after_its_mailbox_was_locked() {
    let server = Server::start("4 64 0 8 --wait 0.1");
    let locked = server.cli(&["lock", "1", "--", "cat"]).stdin(Stdio::piped()).spawn();
    let mut locked = locked.expect("dipc-cli runs");
    wait_until("the mailbox is locked", || server.stat_json(&[], "locks_held") == 1);
    let ran = server.run_with(&["chat", "1", "--name", "bob"], "hi\n");
    assert_eq!((ran.code, ran.stderr.matches("not sent: timeout").count()), (Some(0), 3), "{ran:?}");
    drop(locked.stdin.take());
    locked.wait().expect("the process has ended");
}

#[test]
fn top_shows_the_content_and_the_lock_of_each_mailbox() {
    let server = Server::start("4 64 0 8");
    server.run(&["write", "2", "hello"]).expect(0, "version 1\n");
    let cli = program::dipc_cli();
    let ran = server.run(&["lock", "3", "--", cli, "top", "--once"]);
    let text = String::from_utf8(ran.stdout).expect("text");
    let row = |mailbox: &str| {
        let row = text.lines().find(|line| line.split_whitespace().next() == Some(mailbox));
        row.unwrap_or_else(|| panic!("no {mailbox} in {text}")).split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(row("2")[..5], ["2", "1", "1", "5", "free"]);
    assert_eq!(row("3")[..5], ["3", "0", "0", "0", "exclusive"]);
    let json = server.run(&["top", "--once", "--json"]).json();
    assert_eq!(json["mailboxes"][2]["bytes"], json!(5));
    // On a pipe without --once, top prints one object after the other.
    let mut top = server.cli(&["top", "--json"]).spawn().expect("dipc-cli runs");
    let mut lines = BufReader::new(top.stdout.take().expect("piped")).lines();
    let second = lines.nth(1).expect("a second snapshot").expect("UTF-8");
    assert!(second.contains("\"new_per_second\":0.0"), "{second}");
    top.kill().expect("the process is killed");
    top.wait().expect("the process has ended");
}

#[test]
fn completions_and_man_pages_list_every_command() {
    let server = Server::start("1 1 0 1");
    for shell in ["bash", "zsh", "fish"] {
        let ran = server.run(&["completions", shell]);
        let script = String::from_utf8(ran.stdout).expect("text");
        assert!(script.contains("unlock") && script.contains("grant"), "{shell}");
    }
    for program in ["dipc", "dipcrm"] {
        let script = server.run(&["completions", "bash", program]).text();
        assert!(script.contains("--dir") && !script.contains("unlock"), "{program}");
    }
    let directory = server.directory.join("man");
    server.run(&["manual", directory.to_str().expect("a path in UTF-8")]).expect(0, "");
    for (page, word) in [
        ("dipc.8", "DIPC_MAX_HOLD"),
        ("dipc.8", ".SH EXAMPLES\n.EX\n  dipc  "),
        ("dipc.8", ".SH \"EXIT STATUS\"\n0 started"),
        ("dipcrm.8", "DIPC_DIR"),
        ("dipcrm.8", ".SH EXAMPLES\n.EX\n  dipcrm 5000\n"),
        ("dipc-cli-lock.1", ".SH EXAMPLES\n.EX\n  dipc\\-cli lock 3 \\-\\- make deploy\n"),
        ("dipc-cli-lock.1", ".SH \"EXIT STATUS\"\nthat of the command"),
        ("dipc-cli-watch.1", ".SH EXAMPLES"),
        ("dipc-cli-take.1", ".SH EXAMPLES\n.EX\n  dipc\\-cli take 3\n"),
        ("dipc-cli-take.1", ".SH \"EXIT STATUS\"\nthat of the command"),
        ("dipc-cli-take.1", "DIPC_TRIES"),
        ("dipc-cli-done.1", "take \\-\\-ttl"),
        ("dipc-cli-back.1", "take \\-\\-ttl"),
        ("dipc-cli-edit.1", ".SH EXAMPLES\n.EX\n  dipc\\-cli edit 3 \\-\\- awk"),
        ("dipc-cli-edit.1", ".SH \"EXIT STATUS\"\n0 if the message was replaced"),
        ("dipc-cli-edit.1", "dipc\\-cli edit [OPTIONS] <BOX> \\-\\- <COMMAND>..."),
        ("dipc-cli.1", "DIPC_URL"),
        ("dipc-cli.1", ".SH EXAMPLES"),
        ("dipc-cli.1", ".SH \"EXIT STATUS\""),
        ("dipc-cli-lock.1", "DIPC_GRANT"),
        ("dipc-cli-lock.1", "dipc\\-cli lock [OPTIONS] <BOX[,BOX..]> [\\-\\- <COMMAND>...]"),
        ("dipc-protocol.7", "EVENT 0 box=2 v=0 lost=lock"),
    ] {
        let text = fs::read_to_string(directory.join(page)).expect(page);
        assert!(text.contains(word), "{word} in {page}");
    }
    let help = String::from_utf8(server.run(&["--help"]).stdout).expect("text");
    for word in ["read", "take", "watch", "top", "DIPC_URL", "Exit codes"] {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn bash_completes_options_shells_and_commands() {
    let script = Server::start("1 1 0 1").run(&["completions", "bash"]).text();
    for (words, expected) in [
        ("take 0 --w", "--wait"),
        ("completions z", "zsh"),
        ("completions ''", "bash elvish fish powershell zsh dipc dipcrm dipc-cli"),
        ("ping --u", "--url"),
        // A command behind --, and its arguments, which are files unless the command has completions.
        ("lock 3 -- builti", "builtin"),
        ("edit 3 -- builti", "builtin"),
        ("take 3 -- builti", "builtin"),
        ("--json watch 3 -n 1 -- builti", "builtin"),
        ("lock 3 -- ls --w", ""),
        ("lock 3 --w", "--wait"),
        ("write 3 -- builti", ""),
    ] {
        let last = words.rsplit(' ').next().expect("a word");
        let asked = format!(
            "COMP_WORDS=(dipc-cli {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             $(complete -p dipc-cli | sed 's/.*-F \\([^ ]*\\).*/\\1/') dipc-cli {last} \
             \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        let ran = run(Command::new("bash").args(["-c", &format!("{script}\n{asked}")]));
        assert_eq!(ran.text().trim(), expected, "{words}: {ran:?}");
    }
}
