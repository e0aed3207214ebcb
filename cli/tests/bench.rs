//! `dipc-cli bench` against the real server, briefly.

use std::io::{Read, Write};

use dipc_testkit::process::finish;
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::wait::{HANG, wait_until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Runs `bench --csv`. Returns for each mix its columns, as pairs of name and value.
#[track_caller]
fn rows(server: &Server, words: &[&str]) -> Vec<Vec<(String, String)>> {
    let ran = server.run(&[&["bench", "--csv", "--overwrite"], words].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let text = String::from_utf8(ran.stdout).expect("a report in UTF-8");
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let names = lines.next().expect("a line of names");
    lines
        .map(|values| {
            assert_eq!(values.len(), names.len(), "{text}");
            names.iter().cloned().zip(values).collect()
        })
        .collect()
}

#[track_caller]
fn column<'a>(row: &'a [(String, String)], name: &str) -> &'a str {
    let found = row.iter().find(|(column, _)| column == name);
    found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name} in {row:?}"))
}

#[test]
fn every_mix_sends_the_given_number_of_requests() {
    let server = Server::start("4 64 0 8");
    let mixes = ["r", "w", "rw90", "rw50", "put-take", "lock"];
    let list = mixes.join(",");
    for setting in
        [vec!["-c", "10"], vec!["-c", "7", "-P", "5", "-d", "0"], vec!["-c", "3", "--warmup", "0.05"]]
    {
        let rows =
            rows(&server, &[&["-n", "1000", "-t", &list, "--mailboxes", "3"], setting.as_slice()].concat());
        for (row, mix) in rows.iter().zip(mixes) {
            let seen = ["mix", "requests", "no", "err", "lost"].map(|name| column(row, name));
            assert_eq!(seen, [mix, "1000", "0", "0", "0"], "{row:?}");
            let figure = |name| column(row, name).parse::<f64>().expect("a number");
            assert!(figure("p50_us") > 0.0 && figure("p50_us") <= figure("p999_us"), "{row:?}");
            assert!(figure("max_us") <= figure("seconds") * 1e6 * 1.01, "{row:?}");
            // bench finds the process of the server by itself.
            assert!(figure("server_cpu_us") > 0.0 && figure("own_cpu_us") > 0.0, "{row:?}");
            assert!(figure("server_rss_kb") > 100.0, "{row:?}");
            // bench has one thread, so it uses at most one processor, even in a short run.
            let own = figure("own_cpu_us") * figure("requests") / (figure("seconds") * 1e6);
            assert!(own <= 1.2, "{own} processors: {row:?}");
        }
        assert_eq!(rows.len(), mixes.len());
    }
    for (name, least) in [("reads", 3000), ("writes", 3000), ("puts", 1500), ("takes", 1500), ("locks", 1500)]
    {
        assert!(server.stat_json(&[], name).as_u64() >= Some(least), "{name}");
    }
    assert_eq!(server.stat_json(&[], "locks_held"), json!(0));
}

#[test]
fn a_rate_is_kept() {
    let server = Server::start("4 64 0 8");
    for mix in ["rw50", "put-take", "lock"] {
        let rows = rows(
            &server,
            &["-n", "1000", "--rate", "5000", "-P", "2", "-c", "10", "-t", mix, "--mailboxes", "2"],
        );
        let seconds: f64 = column(&rows[0], "seconds").parse().expect("a number");
        assert!(seconds >= 0.199, "faster than --rate: {rows:?}");
        assert_eq!(["rate", "requests", "no"].map(|name| column(&rows[0], name)), ["5000.0", "1000", "0"]);
    }
}

#[test]
fn a_period_is_kept() {
    let server = Server::start("4 64 0 8");
    let words = ["bench", "--seconds", "0.2", "--warmup", "0.05", "-d", "8192", "--idle", "3", "--json"];
    let report = server.run(&words).json();
    assert!(
        report["seconds"].as_f64().is_some_and(|seconds| (0.2..HANG.as_secs_f64()).contains(&seconds)),
        "{report}"
    );
    assert_eq!([&report["mix"], &report["lost"], &report["rate"]], [&json!("r"), &json!(0), &Value::Null]);
    let rate = report["requests_per_second"].as_f64().expect("a number");
    let counted =
        report["requests"].as_f64().expect("a number") / report["seconds"].as_f64().expect("a number");
    assert!((rate - counted).abs() < 1.0, "{report}");
}

#[test]
fn the_processor_time_of_unfinished_requests_is_counted() {
    let server = Server::start("4 64 0 8");
    let words = ["bench", "--seconds", "0.000000001", "--warmup", "0", "-c", "20", "--json"];
    let report = server.run(&words).json();
    assert_eq!(report["requests"], json!(0), "no answer arrives within 1 ns: {report}");
    assert!(report["server_cpu_us"].as_f64() > Some(0.0), "{report}");
}

#[test]
fn the_file_of_percentiles_matches_the_report() {
    let server = Server::start("4 64 0 8");
    let file = server.directory.join("latency.hgrm");
    let path = file.display().to_string();
    let report = server.run(&["bench", "-n", "2000", "--percentiles", &path, "--json"]).json();
    let text = std::fs::read_to_string(file).expect("a file of percentiles");
    let row = |share: &str| -> Vec<f64> {
        let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some(share)).expect("a line");
        line.split_whitespace().map(|word| word.parse().expect("a number")).collect()
    };
    let (middle, last) = (row("0.500000000000"), row("1.000000000000"));
    for (row, name) in [(&middle, "p50_us"), (&last, "max_us")] {
        let reported = report[name].as_f64().expect("a number") / 1000.0;
        assert!((row[0] - reported).abs() < 0.001, "{name} {report}\n{text}");
    }
    assert_eq!(last[2], 2000.0, "{text}");
    // The report is printed even if the file cannot be written.
    let ran = server.run(&["bench", "-n", "10", "--percentiles", "/nowhere/x", "--overwrite"]);
    assert_eq!(ran.code, Some(74), "{ran:?}");
    assert!(ran.stderr.contains("/nowhere/x: No such file") && !ran.stdout.is_empty(), "{ran:?}");
}

#[test]
fn a_mailbox_is_fair() {
    let server = Server::start("4 64 0 8");
    for mix in ["rw50", "rw90", "lock"] {
        let words = ["bench", "--fairness", "-n", "3000", "-c", "30", "-t", mix, "--json", "--overwrite"];
        let report = server.run(&words).json();
        assert_eq!([&report["overtakes"], &report["mailboxes"]], [&json!(0), &json!(1)], "{report}");
        assert!(report["jain"].as_f64().is_some_and(|jain| (0.5..=1.0).contains(&jain)), "{report}");
        assert!(report["longest_wait_s"].as_f64() > Some(0.0), "{report}");
        assert_eq!(report["longest_write_s"].is_number(), mix != "lock", "{report}");
    }
    let ran = server.run(&["bench", "--fairness", "-n", "3000", "--overwrite"]);
    let text = String::from_utf8(ran.stdout).expect("text");
    assert!(text.starts_with("dipc rw50: ") && text.contains("overtakes 0"), "{text}");
}

#[test]
fn bench_connects_by_socket_host_and_port() {
    let server = Server::start_with_socket("4 64 0 8");
    let (port, socket) = (server.port.to_string(), server.socket().display().to_string());
    for place in [["-s", &socket], ["-p", &port]] {
        let ran = server.run(&[&["bench", "-n", "100", "--json", "--overwrite"], place.as_slice()].concat());
        assert_eq!(ran.json()["requests"], json!(100), "{place:?}");
    }
    let ran = server.run(&["bench", "-n", "100", "-H", "localhost", "-p", &port, "--json", "--overwrite"]);
    assert_eq!(ran.json()["requests"], json!(100));
}

#[test]
fn exit_codes_of_bench_are_those_of_every_command() {
    let server = Server::start("4 64 0 8 --wait 0.05");
    for (line, says) in [
        ("-t x", "invalid value"),
        ("-c 0", "not a number from 1"),
        ("-n 0", "0"),
        ("-n 5 --seconds 1", "cannot be used with"),
        ("--csv --json", "cannot be used with"),
        ("--fairness --mailboxes 2", "cannot be used with"),
        ("--seconds 0", "more than 0"),
        ("--rate 0", "not a number"),
        ("--pid 4194304", "no process"),
        ("-t r,w --percentiles x", "one mix"),
        ("-P 10000 -d 10000", "lower -P or -d"),
        ("-H 192.0.2.1", "not a loopback address"),
        ("--system memcached -t lock", "memcached has no equivalent of -t lock"),
        ("--system redis -t lock", "redis has no equivalent of -t lock"),
        ("-n 10 -t put-take -d 8000", "raise --mailboxes"),
        ("-n 10 -d 9000", "message too large (9000 bytes); the server's PACKET_KB allows 8192"),
        ("-n 10 --mailboxes 5", "no mailbox 4; this server has 0 to 3"),
        ("-n 10 -t r,put-take -d 8000", "raise --mailboxes"),
    ] {
        let words: Vec<_> = ["bench"].into_iter().chain(line.split(' ')).collect();
        server.run(&words).expect_failure(2, says);
    }
    // Nothing was overwritten by a run that was refused.
    assert_eq!(server.stat_json(&["0"], "version"), json!(0));
    server.run(&["bench", "-n", "10", "-p", "1"]).expect_failure(3, "cannot connect to dipc://127.0.0.1:1");
    let memcached = ["bench", "-n", "10", "-p", "1", "--system", "memcached"];
    server.run(&memcached).expect_failure(3, "cannot connect to memcached://127.0.0.1:1");
    // Another client has locked the mailbox.
    let ran = server.run(&["lock", "0", "--", program::dipc_cli(), "bench", "-n", "10"]);
    ran.expect_failure(1, "timeout");
    // The prompt says that bench is a command of the shell.
    server.run_with(&[], "bench\n").expect_failure(2, "of the shell");
}

#[test]
fn a_silent_or_killed_server_is_exit_code_3() {
    let mut server = Server::start("4 64 0 8");
    for how in ["silent", "killed"] {
        let requests = server.stat_json(&[], "requests").as_u64();
        let words = ["bench", "--fairness", "--seconds", "60", "-c", "5", "--timeout", "3", "--overwrite"];
        let bench = server.cli(&words).spawn().expect("dipc-cli runs");
        wait_until("the server is under load", || {
            server.stat_json(&[], "requests").as_u64() > requests.map(|count| count + 500)
        });
        match how {
            "killed" => server.kill(),
            _ => server.signal(Signal::SIGSTOP),
        }
        let ran = finish(bench, b"");
        assert_eq!(ran.code, Some(3), "{how}: {ran:?}");
        assert!(
            how == "silent" || String::from_utf8_lossy(&ran.stdout).contains("connections lost 5"),
            "{ran:?}"
        );
        if how == "silent" {
            assert!(ran.stderr.contains("silent for too long"), "{ran:?}");
            server.signal(Signal::SIGCONT);
        }
    }
}

#[test]
fn refused_connections_are_counted_as_lost() {
    let server = Server::start("4 64 0 8 --max-clients 20");
    let ran = server.run(&["bench", "-n", "1000", "-c", "50", "--idle", "2"]);
    let text = String::from_utf8(ran.stdout).expect("text");
    assert_eq!(ran.code, Some(3), "{text}");
    assert!(text.contains("failure   "), "{text}");
    assert!(!text.contains("connections lost 0"), "{text}");
}

#[test]
fn a_server_of_another_protocol_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                while stream.read(&mut [0; 8]).is_ok_and(|length| length > 0) {
                    let _ = stream.write_all(b"MOO\r\n");
                }
            });
        }
    });
    let server = Server::start("1 1 0 1");
    for (system, says) in [
        ("redis", "unexpected answer: MOO"),
        ("memcached", "answer: MOO"),
        ("dipc", "not the protocol of dipc"),
    ] {
        server.run(&["bench", "--system", system, "-p", &port, "-n", "10"]).expect_failure(3, says);
    }
}

#[test]
fn mailboxes_that_hold_messages_are_not_overwritten_without_permission() {
    let server = Server::start("4 64 0 8");
    // An empty message is a message.
    server.run(&["write", "2", ""]).expect(0, "version 1\n");
    let refused = ["bench", "-n", "10", "--mailboxes", "4", "-t", "w,put-take"];
    server.run(&refused).expect_failure(2, "mailbox 2 holds messages: --overwrite replaces them");
    for mailbox in ["0", "1", "3"] {
        assert_eq!(server.stat_json(&[mailbox], "version"), json!(0), "mailbox {mailbox} was overwritten");
    }
    for words in [vec!["bench", "-n", "10", "--mailboxes", "2"], [&refused[..], &["--overwrite"]].concat()] {
        let ran = server.run(&words);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    }
}

/// Stands for redis and memcached: each answer is prepared.
#[test]
fn keys_of_other_systems_that_hold_values_are_not_overwritten_without_permission() {
    let server = Server::start("1 1 0 1");
    for (system, mix, pong, value) in [
        ("redis", "r", "+PONG\r\n", "$3\r\nabc\r\n"),
        ("redis", "put-take", "+PONG\r\n", "$0\r\n\r\n"),
        ("memcached", "w", "VERSION 1.6.0\r\n", "VALUE box:0 0 3\r\nabc\r\nEND\r\n"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port().to_string();
        let peer = std::thread::spawn(move || {
            // The first connection is that of the search for an address.
            let mut connections = listener.incoming().map(|stream| stream.expect("a connection"));
            let (_probe, mut stream) = (connections.next(), connections.next().expect("a connection"));
            let (mut buffer, mut requests) = ([0; 1024], Vec::new());
            for answer in [pong, value] {
                let length = stream.read(&mut buffer).expect("a request");
                requests.extend_from_slice(&buffer[..length]);
                stream.write_all(answer.as_bytes()).expect("answered");
            }
            let _ = stream.read_to_end(&mut requests);
            String::from_utf8_lossy(&requests).into_owned()
        });
        let ran = server.run(&["bench", "--system", system, "-t", mix, "-p", &port, "-n", "10"]);
        ran.expect_failure(2, "the key of mailbox 0 holds messages: --overwrite replaces them");
        let requests = peer.join().expect("the peer does not panic").to_uppercase();
        let changes = ["SET", "RPUSH", "DEL"].iter().any(|verb| requests.contains(verb));
        assert!(!changes && requests.contains("0"), "{system} {mix}: {requests}");
    }
}

#[test]
fn a_server_without_a_place_refuses_bench() {
    let server = Server::start("4 64 0 8 --max-clients 1");
    let _client = server.connect();
    server.run(&["bench", "-n", "10"]).expect_failure(75, "busy");
}

/// Any text protocol may answer an unknown request with a line, and execute the lines of data after it.
#[test]
fn a_server_of_another_kind_gets_no_data() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    let received = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let all = received.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, all) = (stream.expect("a connection"), all.clone());
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    all.lock().expect("bytes").extend_from_slice(&buffer[..length]);
                    let _ = stream.write_all(b"OK\n");
                }
            });
        }
    });
    let server = Server::start("1 1 0 1");
    for system in ["redis", "memcached", "dipc"] {
        let ran = server.run(&["bench", "--system", system, "-p", &port, "-n", "10", "--overwrite"]);
        assert_eq!(ran.code, Some(3), "{ran:?}");
    }
    let received = String::from_utf8_lossy(&received.lock().expect("bytes")).into_owned();
    assert!(
        !received.contains("xxx") && received.contains("PING") && received.contains("hello"),
        "{received}"
    );
}
