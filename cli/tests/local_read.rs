//! `read --local`: reads in the shared memory.

use dipc_testkit::instance::BaseDirectory;
use dipc_testkit::port::Port;
use dipc_testkit::process::run;
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use dipc_testkit::waiter::Waiter;
use nix::sys::signal::Signal;
use serde_json::json;

/// A server, and the options of a command that reads its memory.
struct Scene {
    base: BaseDirectory,
    port: Port,
}

impl Scene {
    fn new() -> Self {
        Scene { base: BaseDirectory::new(), port: Port::reserve() }
    }

    fn arguments(&self) -> String {
        format!("4 64 {} 8", self.port.number)
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(program::dipc_cli());
        command.args(["-p", &self.port.number.to_string()]).args(words);
        command.env("DIPC_DIR", self.base.path()).stdin(std::process::Stdio::null());
        command
    }

    #[track_caller]
    fn expect(&self, words: &[&str], code: i32, stdout: &str) -> String {
        let outcome = run(&mut self.command(words));
        assert_eq!((outcome.code, outcome.text()), (Some(code), stdout.to_owned()), "{words:?}: {outcome:?}");
        outcome.stderr
    }
}

#[test]
fn a_local_read_prints_what_a_read_prints() {
    let scene = Scene::new();
    let server = scene.base.start(&scene.arguments());
    let mut client = server.connect();
    client.ask("put 3\none\nput 3\ntwo\nname 3 jobs\n", "OK v=1 n=1\nOK v=2 n=2\nOK name=jobs\n");
    let reads = client.stat("reads");
    scene.expect(&["read", "3", "--local"], 0, "two");
    scene.expect(&["read", "jobs", "--local"], 0, "two");
    scene.expect(&["read", "3", "--local", "--off", "1", "--len", "1"], 0, "w");
    scene.expect(&["read", "3", "--local", "--after", "0", "--off", "1"], 0, "ne");
    scene.expect(&["read", "3", "--local", "--version"], 0, "2\n");
    assert_eq!(scene.expect(&["read", "3", "--local", "-v"], 0, "two"), "dipc-cli: version 2, messages 2\n");
    let value = json!({ "mailbox": 3, "version": 2, "count": 2, "lost": 0, "data": "two" });
    scene.expect(&["read", "3", "--local", "--json"], 0, &format!("{value}\n"));
    assert_eq!(client.stat("reads"), reads, "the server knows nothing of them");
    scene.expect(&["read", "4", "--local"], 2, "");
    scene.expect(&["read", "none", "--local"], 2, "");
    scene.expect(&["read", "3", "--local", "--after", "3"], 1, "");
    scene.expect(&["read", "3", "--local", "--after", "2", "--wait", "0"], 1, "");
    server.end(Signal::SIGKILL);
    scene.expect(&["read", "3", "--local"], 0, "two");
    scene.expect(&["read", "3"], 3, "");
}

#[test]
fn a_local_read_waits_for_a_newer_message() {
    let scene = Scene::new();
    let server = scene.base.start(&scene.arguments());
    let mut command = scene.command(&["read", "3", "--local", "--after", "0", "--wait", "inf"]);
    let child = command.stdout(std::process::Stdio::piped()).spawn().expect("spawned");
    let flags = Waiter::open(&scene.base, &server);
    wait_until("the flag", || flags.flag(3) != 0);
    server.connect().ask("w 3\nnews\n", "OK v=1\n");
    let output = child.wait_with_output().expect("our child");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"news".as_slice()));
}

#[test]
fn a_locked_mailbox_is_read_from_the_server() {
    let scene = Scene::new();
    let server = scene.base.start(&scene.arguments());
    let mut holder = server.connect();
    holder.ask("w 3\nwhole\n", "OK v=1\n");
    holder.lock("lock 3\n");
    scene.expect(&["read", "3", "--local", "--wait", "0"], 1, "");
    let note = "dipc-cli: mailbox 3 is locked or changes: the server is asked\n";
    assert!(scene.expect(&["read", "3", "--local", "--wait", "0", "-v"], 1, "").starts_with(note));
    scene.expect(&["read", "3", "--local", "--after", "0", "--wait", "0"], 1, "");
    let mut command = scene.command(&["read", "3", "--local"]);
    let child = command.stdout(std::process::Stdio::piped()).spawn().expect("spawned");
    wait_until("the read waits in the queue", || holder.stat_box(3, "waiting") == 1);
    holder.ask("unlock 3\n", "OK\n");
    assert_eq!(child.wait_with_output().expect("our child").stdout, b"whole");
}

#[test]
fn only_the_memory_of_an_instance_of_this_machine_can_be_read() {
    let scene = Scene::new();
    let stderr = scene.expect(&["read", "3", "--local"], 74, "");
    assert!(stderr.contains("the shared memory of port"), "{stderr}");
    scene.expect(&["read", "3", "--local", "-H", "elsewhere"], 2, "");
    scene.expect(&["read", "3", "--dir", "/tmp"], 2, "");
    let server = Server::start("4 64 0 8");
    let prompt = server.run_with(&[], "read 3 --local\n");
    assert_eq!(prompt.code, Some(2), "{prompt:?}");
}
