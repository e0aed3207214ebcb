//! `bench/peers` makes its page from recorded runs, and `dipc-cli bench` can load its servers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dipc_testkit::directory::Directory;
use dipc_testkit::process::{KillOnDrop, Outcome, first_line, run};
use dipc_testkit::program;
use serde_json::{Value, json};

/// A directory of recorded runs. It is removed when this value is dropped.
struct Recorded(Directory);

impl Recorded {
    fn new() -> Self {
        let directory = Directory::new();
        fs::create_dir(directory.join("performance")).expect("a new directory");
        Recorded(directory)
    }

    fn record(&self, name: &str, text: &str) {
        fs::write(self.0.join("performance").join(name), text).expect("the file is written");
    }
}

/// Compiles one of bench/*.c.
#[track_caller]
fn compiled(name: &str, directory: &Directory) -> PathBuf {
    let (program, source) = (directory.join(name), checkout().join("bench").join(name).with_extension("c"));
    let strict = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"];
    run(Command::new("cc").args(strict).arg(&program).arg(source)).expect(0, "");
    program
}

/// Starts a compiled server. Returns its process, and its port, which is the first line that it prints.
#[track_caller]
fn running(command: &mut Command) -> (KillOnDrop, String) {
    let mut server = KillOnDrop(command.stdout(Stdio::piped()).spawn().expect("the server starts"));
    let port = first_line(&mut server.0).trim().to_owned();
    (server, port)
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Runs `bench/peers --page`.
#[track_caller]
fn make_page(python: &str, out: &Path) -> Outcome {
    let peers = checkout().join("bench/peers");
    run(Command::new(python).arg(peers).args(["--page", "--out"]).arg(out))
}

/// Makes the page of the recorded runs. None: python3 is not installed.
#[track_caller]
fn page(recorded: &Recorded) -> Option<String> {
    let ran = make_page(program::python3()?, recorded.0.path());
    ran.expect(0, "");
    assert!(["", "gnuplot is not installed: no plots\n"].contains(&ran.stderr.as_str()), "{ran:?}");
    Some(fs::read_to_string(recorded.0.join("performance.md")).expect("a page"))
}

#[test]
fn the_page_shows_medians_and_medians_of_ratios_within_rounds() {
    let recorded = Recorded::new();
    let servers = ["dipc", "redis", "baseline"];
    let section = |line, values: &[u32]| json!({ "line": line, "values": values, "servers": servers });
    let about = json!({
        "date": "2020-02-02", "kernel": "Linux", "processor": "fast", "processors": 2, "congestion": "cubic",
        "seconds": 0.5, "rounds": 2, "rounds_gated": 3, "gated": { "connections": [50] },
        "versions": { "dipc": "0.1.0" }, "servers": {},
        "sections": {
            "connections": section("-t r,w -c N", &[50]),
            "pipeline": section("-t r,w -P N", &[16]),
            "large": section("-t r,w -d N", &[65536]),
            "hot": section("-t rw50 --mailboxes N", &[1, 64]),
        }
    });
    recorded.record("about.json", &about.to_string());
    // One run of redis has no result.
    recorded.record(
        "runs.csv",
        "section,n,round,server,mix,server_cpu_us,server_kernel_cpu_us,requests_per_second,overtakes\n\
         connections,50,1,dipc,r,3.0,2.0,200000,\nconnections,50,2,dipc,r,8.5,3.5,120000,\n\
         connections,50,3,dipc,r,4.0,3.0,150000,\n\
         connections,50,1,redis,r,4.0,1.0,100000,\nconnections,50,2,redis,r,10.0,1.0,60000,\n\
         connections,50,1,baseline,r,1.7,1.7,100000,\n\
         pipeline,16,1,dipc,r,7.0,6.0,150000,\npipeline,16,1,redis,r,10.0,1.0,100000,\n\
         pipeline,16,1,baseline,r,6.0,6.0,160000,\n\
         large,65536,1,dipc,r,10.0,5.0,100000,\nlarge,65536,1,redis,r,10.0,1.0,100000,\n\
         large,65536,1,baseline,r,5.0,5.0,200000,\n\
         hot,1,1,dipc,rw50,5.0,4.0,70000,\nhot,64,1,dipc,rw50,5.0,4.0,100000,0\n",
    );
    recorded.record(
        "profile.csv",
        "section,n,mix,server,cpu,send,receive,wait,kernel,program\n\
         connections,50,r,dipc,5.0,4.0,0.25,0.1,0.15,0.5\n",
    );
    let Some(page) = page(&recorded) else { return };
    for line in [
        "| 50 | 0.80 | 2.00 | 4.00 | 7.00 | – | 1.70 | 150,000 | 80,000 | – |",
        "| CPU time per request, 50 connections, reads: dipc / redis or memcached \
         | 0.8 | ≤ 0.85 | reached | 0.75 – 0.85 | 0.425 |  |",
        "| CPU time per request, 50 connections, writes: dipc / redis or memcached \
         | – | ≤ 0.85 | not measured |  |  |  |",
        "| CPU time per request, pipelined by 16, reads: dipc / redis \
         | 0.7 | ≤ 0.55 | not reached | 0.7 – 0.7 | 0.6 | none |",
        "| Requests per second, pipelined by 16, reads: dipc / redis \
         | 1.5 | ≥ 1.5 | reached | 1.5 – 1.5 | 1.6 |  |",
        "| CPU time, reads of 64 KiB, 64 mailboxes: dipc / best | 1 | ≤ 0.95 | not reached | 1 – 1 |  |  |",
        "| Rate, reads of 64 KiB, 64 mailboxes: dipc / best | 1 | ≥ 1.1 | not reached | 1 – 1 |  |  |",
        "| reads | 65,536 | 1.00 | 1.00 – 1.00 | 1.00 | 1.00 – 1.00 | 10.0 | 10.0 | – | – | – |",
        "| read 100 bytes, 50 clients: CPU time | redis | 7.00 µs | 4.00 µs | 0.80 | 0.75 – 0.85 |",
        "| Requests per second, 50 % writes: one mailbox / 64 mailboxes \
         | 0.7 | ≥ 0.8 | not reached | 0.7 – 0.7 |  |  |",
        "| Overtakes in all runs with --fairness | 0 | ≤ 0 | reached |  |  |  |",
        "| dipc | 0.70 | 70,000 | 100,000 |",
        "- runs: 54; runs without a result: 40",
        "| `-t r -c 50` | dipc | 5.00 | 4.00 | 0.25 | 0.10 | 0.15 | 0.50 |",
        "3 of 48 goals are reached.",
        "    dipc-cli bench --system SYSTEM -p PORT --pid PID -t r,w -c N --seconds 0.5 --warmup 0.1 --csv",
    ] {
        assert!(page.lines().any(|shown| shown == line), "{line}\n{page}");
    }
}

#[test]
fn the_page_of_docs_is_made_of_the_recorded_runs() {
    let (recorded, docs) = (Recorded::new(), checkout().join("docs"));
    for name in ["about.json", "runs.csv", "profile.csv"] {
        let text = fs::read_to_string(docs.join("performance").join(name)).expect("recorded");
        recorded.record(name, &text);
    }
    let Some(page) = page(&recorded) else { return };
    let shown = fs::read_to_string(docs.join("performance.md")).expect("a page");
    assert!(page == shown, "docs/performance.md is not what bench/peers --page makes of docs/performance/");
}

#[test]
fn a_page_needs_recorded_runs() {
    let directory = Directory::new();
    let Some(python) = program::python3() else { return };
    make_page(python, directory.path()).expect_failure(1, "nothing was recorded");
}

#[test]
fn bench_loads_the_baseline_server() {
    let directory = Directory::new();
    let program = compiled("baseline-server", &directory);
    let (server, port) = running(Command::new(&program).arg("0"));
    let pid = server.0.id().to_string();
    for line in ["-c 20 -P 3 -d 0", "-c 20 -P 128 -d 100", "-c 5 -P 3 -d 300000"] {
        let words = [
            "bench",
            "-p",
            &port,
            "--pid",
            &pid,
            "--json",
            "-t",
            "r,w",
            "-n",
            "600",
            "--mailboxes",
            "3",
            "--overwrite",
        ];
        let ran = run(Command::new(program::dipc_cli()).args(words).args(line.split(' ')));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        for report in String::from_utf8_lossy(&ran.stdout).lines() {
            let report: Value = serde_json::from_str(report).expect("a report");
            let seen = ["requests", "no", "err", "lost"].map(|name| report[name].as_u64());
            assert_eq!(seen, [Some(600), Some(0), Some(0), Some(0)], "{report}");
        }
    }
}

#[test]
fn bench_loads_the_server_with_locks() {
    let directory = Directory::new();
    let program = compiled("rwlock-server", &directory);
    for variant in ["send", "copy"] {
        let (_server, port) = running(Command::new(&program).args(["0", "2", "300000", variant]));
        let bench = |line: &str| {
            let words = ["bench", "--system", "memcached", "-p", &port, "--json", "--overwrite"];
            run(Command::new(program::dipc_cli()).args(words).args(line.split(' ')))
        };
        for size in ["0", "100", "300000"] {
            let report = bench(&format!("--fairness -t rw90 -n 600 -c 20 -P 3 -d {size}")).json();
            let seen = ["requests", "no", "err", "lost"].map(|name| report[name].as_u64());
            assert_eq!(seen, [Some(600), Some(0), Some(0), Some(0)], "{report}");
            assert!(report["longest_write_s"].as_f64() > Some(0.0), "{report}");
        }
        assert_eq!(bench("-t r,w -n 100 --mailboxes 2 --idle 5").code, Some(0));
        // A message larger than a mailbox, and a mailbox after the last one.
        for line in ["-t w -n 1 -d 300001", "-t w -n 1 --mailboxes 3"] {
            bench(line).expect_failure(2, "refused: ERROR");
        }
    }
}
