//! Lists after a restart of the server.

use dipc_testkit::client::field;
use dipc_testkit::port::Port;
use dipc_testkit::process::text;
use dipc_testkit::server::Server;
use nix::sys::signal::Signal;

#[test]
fn a_list_survives_every_end_of_its_server() {
    let port = Port::reserve();
    let arguments = format!("4 1 {} 1", port.number);
    let mut server = Server::start(&arguments);
    let mut first = 1;
    let mut version = 0;
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGKILL, Signal::SIGTERM] {
        let mut client = server.connect();
        for _ in 0..10 {
            version += 1;
            client.ask(format!("put 0\n{version}\n"), format!("OK v={version} n={}\n", version - first + 1));
        }
        let mut taker = server.enqueue("take 1 wait=inf\n");
        server.signal(signal);
        server.wait();
        let received = text(&taker.read_to_end());
        assert!(received.is_empty() || received.starts_with("ERR drain"), "{received}");
        server.restart(&arguments);
        let mut client = server.connect();
        for _ in 0..5 {
            let answer =
                format!("DATA {} v={first} n={}\n{first}\n", first.to_string().len(), version - first);
            client.ask("take 0\n", answer);
            first += 1;
        }
        client.ask("take 1 wait=0\n", "NO empty\n");
    }
}

/// A message that was acknowledged and not taken survives every kill, and no message is taken twice.
#[test]
fn no_message_is_lost_or_taken_twice_when_the_server_is_killed() {
    let port = Port::reserve();
    let arguments = format!("1 1024 {} 8", port.number);
    let mut server = Server::start(&arguments);
    let mut last_taken = 0;
    for round in 0..10 {
        let mut putter = server.connect();
        let mut taker = server.connect();
        putter.send("put 0 5\nhello\n".repeat(2000));
        taker.send("take 0 wait=inf\n".repeat(1000));
        let mut answers: String = (0..2 * (50 + 70 * round)).map(|_| taker.line() + "\n").collect();
        server.signal(Signal::SIGKILL);
        server.wait();
        answers += &text(&taker.read_to_end());
        // The last line may be incomplete.
        let headers = answers.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for header in headers.lines().filter(|line| line.starts_with("DATA ")) {
            assert!(field(header, "v") > last_taken, "{header} after {last_taken}");
            last_taken = field(header, "v");
        }
        let acknowledged = text(&putter.read_to_end());
        let acknowledged = acknowledged.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let acknowledged = acknowledged.lines().map(|line| field(line, "v")).max().unwrap_or(0);
        server.restart(&arguments);
        let lines = server.connect().stat_lines("stat 0\n");
        let value = |name: &str| {
            let line = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.expect("a line").parse::<u64>().expect("a number")
        };
        let (version, messages) = (value("version"), value("messages"));
        assert!(version >= acknowledged, "{acknowledged} was acknowledged, {version} is the newest");
        assert!(version - messages >= last_taken, "{last_taken} was taken, and is in the mailbox");
    }
}
