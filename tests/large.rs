//! Large messages. They are sent from the memory of their mailbox and received into it, without another copy.

use dipc_testkit::client::{Client, field};
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Bytes that differ at every position of a page.
fn message(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 251 + at * 7 + seed * 13) as u8).collect()
}

fn write(verb: &str, data: &[u8]) -> Vec<u8> {
    [format!("{verb} {}\n", data.len()).as_bytes(), data, b"\n"].concat()
}

#[track_caller]
fn expect_data(client: &mut Client, fields: &str, data: &[u8]) {
    let (header, found) = client.data();
    assert_eq!(header, format!("DATA {} {fields}", data.len()));
    assert!(found == data, "the data of {header}");
}

/// Numbers of messages that were sent from a mailbox and received into one.
fn uncopied(server: &Server) -> [u64; 2] {
    [server.stat("sent_uncopied"), server.stat("received_uncopied")]
}

#[test]
fn large_messages_are_received_and_sent_without_a_copy() {
    let server = Server::start_with_socket("2 1024 0 1024");
    let mut client = server.connect();
    let mut unix = Client::unix(&server.socket());
    let mut version = 0;
    for len in [40 * KIB, 64 * KIB, 300_000, MIB, 20, 0, MIB - 1] {
        let data = message(len, len);
        version += 1;
        client.ask(write("w 0", &data), format!("OK v={version}\n"));
        client.send("r 0\n");
        expect_data(&mut client, &format!("v={version} n=1"), &data);
        unix.send("r 0\n");
        expect_data(&mut unix, &format!("v={version} n=1"), &data);
        client.send("r 0 off=10 len=90000\r\n");
        let part = &data[10.min(len)..90_010.min(len)];
        assert_eq!(client.line(), format!("DATA {} v={version} n=1\r", part.len()));
        assert!(client.bytes(part.len()) == part);
        client.expect("\r\n");
    }
    // The reads of the five large messages, by both clients and of a part.
    assert_eq!(uncopied(&server), [15, 5]);
}

#[test]
fn a_large_message_that_wraps_around_the_end_of_the_ring_is_whole() {
    const LEN: usize = 200_000;
    let server = Server::start("1 1024 0 1024");
    let mut client = server.connect();
    for number in 1..=40 {
        let data = message(number, LEN);
        client.ask(write("put 0", &data), format!("OK v={number} n={}\n", number.min(3)));
        client.send(format!("r 0 after={}\n", number - 1));
        expect_data(&mut client, &format!("v={number} n={}", number.min(3)), &data);
        if number >= 3 {
            client.send("take 0\n");
            expect_data(&mut client, &format!("v={} n=2", number - 2), &message(number - 2, LEN));
        }
    }
    assert_eq!(uncopied(&server), [40, 40]);
}

#[test]
fn requests_around_a_large_one_are_executed_in_order() {
    let server = Server::start("2 256 0 256");
    let mut client = server.connect();
    let data = message(1, 100_000);
    let crlf = [b"put 1 100000\r\n", &data[..], b"\r\n"].concat();
    client
        .send([b"w 0 2\nhi\nr 0\n", &write("w 0", &data)[..], b"r 0\nping\n", &crlf, b"w 1 1\nx\n"].concat());
    client.expect("OK v=1\nDATA 2 v=1 n=1\nhi\nOK v=2\n");
    expect_data(&mut client, "v=2 n=1", &data);
    client.expect("OK\nOK v=1 n=1\r\nOK v=2\n");
}

/// Until all of its data is there, a request holds nothing.
#[test]
fn a_client_that_sends_slowly_delays_no_other_client() {
    let server = Server::start("1 1024 0 1024");
    let [mut slow, mut other] = [server.connect(), server.connect()];
    let (data, between) = (message(1, MIB), message(2, MIB));
    let request = write("w 0", &data);
    slow.send(&request[..MIB / 2]);
    other.ask(write("w 0", &between), "OK v=1\n");
    slow.send(&request[MIB / 2..MIB]);
    other.send("r 0\n");
    expect_data(&mut other, "v=1 n=1", &between);
    slow.ask(&request[MIB..], "OK v=2\n");
    other.send("r 0\n");
    expect_data(&mut other, "v=2 n=1", &data);
    assert_eq!(uncopied(&server), [2, 2]);
}

/// The socket of a client whose data was awaited stayed unreadable for its next, small request.
#[test]
fn a_small_request_after_large_data_is_answered() {
    let server = Server::start("1 64 0 64");
    for (version, len) in (1..).zip([17, 18, 20, 33, 34, 40, 64].map(|len| len * KIB)) {
        let mut client = server.connect();
        let request = write("w 0", &message(1, len));
        client.send(&request[..1000]);
        // The server has seen these bytes, and lets the kernel keep the next ones.
        server.stat("requests");
        client.ask(&request[1000..], format!("OK v={version}\n"));
        client.ask("ping\n", "OK\n");
    }
}

#[test]
fn a_client_that_disconnects_within_its_data_changes_nothing() {
    let server = Server::start("1 1024 0 1024");
    let mut client = server.connect();
    client.ask(write("w 0", &message(1, MIB)), "OK v=1\n");
    for sent in [100, 100 * KIB, MIB] {
        let mut gone = server.connect();
        gone.send(&write("w 0", &message(2, MIB))[..sent]);
        gone.half_close();
        gone.expect_end();
    }
    client.send("r 0\n");
    expect_data(&mut client, "v=1 n=1", &message(1, MIB));
    server.wait_for_stat("connections", |connections| connections <= 2);
}

#[test]
fn data_of_another_length_changes_nothing() {
    let server = Server::start("1 256 0 256");
    let mut client = server.connect();
    client.ask(write("w 0", b"before"), "OK v=1\n");
    for end in ["x\n", "\rx\n", "xy"] {
        let mut wrong = server.connect();
        wrong.send([b"w 0 100000\n", &message(1, 100_000)[..], end.as_bytes()].concat());
        assert!(wrong.line().starts_with("ERR frame "));
        wrong.expect_end();
    }
    client.ask("r 0\n", "DATA 6 v=1 n=1\nbefore\n");
    // The two bytes of the end of line arrive apart.
    client.send([b"w 0 100000\r\n", &message(1, 100_000)[..], b"\r"].concat());
    wait_until("the data has arrived", || server.stat("client_memory_bytes") >= 100_000);
    client.ask("\n", "OK v=2\r\n");
}

#[test]
fn a_mailbox_that_is_not_free_gets_large_data_later() {
    let server = Server::start("1 256 0 256");
    let [mut holder, mut client] = [server.connect(), server.connect()];
    let data = message(1, 200_000);
    holder.lock("lock 0 ttl=60\n");
    server.send_waiting(&mut client, write("w 0", &data));
    // The client's own lock covers the request.
    holder.ask(write("w 0", &message(2, 150_000)), "OK v=1\n");
    holder.ask("unlock 0\n", "OK\n");
    client.expect("OK v=2\n");
    client.send([b"w 0 200000 if=1\n", &data[..], b"\nw 0 200000 if=2\n", &data, b"\nping\n"].concat());
    client.expect("NO conflict v=2\nOK v=3\nOK\n");
}

#[test]
fn large_data_waits_for_room() {
    let server = Server::start("1 256 0 256");
    let [mut client, mut taker] = [server.connect(), server.connect()];
    client.ask(write("put 0", &message(1, 200_000)), "OK v=1 n=1\n");
    server.send_waiting(&mut client, write("put 0", &message(2, 200_000)));
    taker.send("take 0\n");
    expect_data(&mut taker, "v=1 n=0", &message(1, 200_000));
    client.expect("OK v=2 n=1\n");
    taker.send("take 0\n");
    expect_data(&mut taker, "v=2 n=0", &message(2, 200_000));
}

/// What a socket does not take at once is copied, and the mailbox is free again.
#[test]
fn a_client_that_does_not_read_delays_no_writer() {
    let server = Server::start_with_socket("1 1024 0 1024");
    let mut reader = Client::unix(&server.socket());
    let mut writer = server.connect();
    writer.ask(write("w 0", &message(1, MIB)), "OK v=1\n");
    reader.send("r 0\nr 0\nping\n");
    server.wait_for_stat("flushing", |flushing| flushing == 1);
    writer.ask(write("w 0", &message(2, MIB)), "OK v=2\n");
    writer.ask(write("w 0", &message(3, MIB)), "OK v=3\n");
    expect_data(&mut reader, "v=1 n=1", &message(1, MIB));
    let (header, data) = reader.data();
    let version = field(&header, "v") as usize;
    assert!(data == message(version, MIB), "{header}");
    reader.expect("OK\n");
}

#[test]
fn watchers_get_large_messages_from_the_mailbox() {
    const WATCHERS: usize = 5;
    let server = Server::start_with_socket("1 1024 0 1024");
    let mut writer = server.connect();
    let mut watchers: Vec<Client> = (0..WATCHERS).map(|_| server.connect()).collect();
    watchers.iter_mut().for_each(|watcher| watcher.ask("watch 0\n", "OK v=0\n"));
    writer.ask(write("w 0", &message(1, 100_000)), "OK v=1\n");
    for watcher in &mut watchers {
        let (header, data) = watcher.event();
        assert_eq!(header, "EVENT 100000 box=0 v=1");
        assert!(data == message(1, 100_000));
    }
    assert_eq!(server.stat("sent_uncopied"), WATCHERS as u64);
    // The sockets of these watchers take only a part of an event.
    let mut slow: Vec<Client> = (0..3).map(|_| Client::unix(&server.socket())).collect();
    slow.iter_mut().for_each(|watcher| watcher.ask("watch 0\n", "OK v=1\n"));
    for version in 2..=3 {
        writer.ask(write("w 0", &message(version, MIB)), format!("OK v={version}\n"));
    }
    for watcher in watchers.iter_mut().chain(&mut slow) {
        loop {
            let (header, data) = watcher.event();
            let version = field(&header, "v") as usize;
            assert!(data == message(version, MIB), "{header}");
            if version == 3 {
                break;
            }
        }
    }
}

/// The kernel keeps a bounded sum of data for the server. Other data is received into memory.
#[test]
fn the_data_that_the_kernel_keeps_has_a_bound() {
    const CLIENTS: usize = 40;
    let server = Server::start("1 2048 0 2048 --client-memory 256");
    let data = message(1, 2 * MIB - 2000);
    let request = write("w 0", &data);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(&request[..MIB]));
    wait_until("some data is received into memory", || {
        let memory = server.stat("client_memory_bytes") as usize;
        assert!(memory < 24 * MIB, "most data stays in the kernel: {memory} bytes");
        memory > 6 * MIB
    });
    clients.iter_mut().for_each(|client| client.send(&request[MIB..]));
    let mut versions: Vec<u64> = clients.iter_mut().map(|client| field(&client.line(), "v")).collect();
    versions.sort_unstable();
    assert!(versions.into_iter().eq(1..=CLIENTS as u64));
}

/// The low-water mark of the socket was kept when the data was found out to be received into memory.
#[test]
fn a_socket_is_readable_again_after_all_kinds_of_data() {
    let server = Server::start("1 256 0 256");
    let mut other = server.connect();
    let data = message(1, 100_000);
    for before in ["\n", "ping\n", "\r\n\n"] {
        for first in [17_400, 17_404, 17_408, 17_420, 70_000] {
            let mut client = server.connect();
            let stream = [before.as_bytes(), &write("w 0", &data)].concat();
            client.send(&stream[..first]);
            other.stat("requests");
            client.send(&stream[first..]);
            client.expect(if before == "ping\n" { "OK\n" } else { "" });
            assert!(client.line().starts_with("OK v="));
            client.ask("ping\n", "OK\n");
        }
    }
    // Two large requests, of which the second one begins in the same packet as the end of the first.
    for second in [17_000, 20_000, 34_000] {
        let mut client = server.connect();
        let stream = [write("w 0", &data), write("w 0", &message(2, second))].concat();
        for piece in stream.chunks(50_000) {
            client.send(piece);
            other.stat("requests");
        }
        assert!(client.line().starts_with("OK v=") && client.line().starts_with("OK v="));
        client.ask("ping\n", "OK\n");
    }
    other.ask("name 0 jobs\n", "OK name=jobs\n");
    let mut client = server.connect();
    let stream = write("w jobs", &data);
    client.send(&stream[..40_000]);
    other.ask("name 0 -\n", "OK name=-\n");
    client.send(&stream[40_000..]);
    assert!(client.line().starts_with("ERR box "));
    client.ask("ping\n", "OK\n");
}

/// All data was there, and its end of line was awaited for 30 seconds.
#[test]
fn a_silence_completes_large_data_without_its_end_of_line() {
    let server = Server::start("1 256 0 256");
    let mut client = server.connect();
    let request = write("w 0", &message(1, 100_000));
    client.ask(&request[..request.len() - 1], "OK v=1\n");
    assert_eq!(client.stat("completed_by_silence"), 1);
    client.send("r 0\n");
    expect_data(&mut client, "v=1 n=1", &message(1, 100_000));
}

/// Each large read of a batch had a grant of its own.
#[test]
fn large_reads_of_a_batch_are_one_stay() {
    let server = Server::start("1 64 0 64");
    let [mut holder, mut reader, mut writer] = [server.connect(), server.connect(), server.connect()];
    let data = message(1, 20_000);
    holder.ask(write("w 0", &data), "OK v=1\n");
    holder.lock("lock 0 ttl=60\n");
    server.send_waiting(&mut reader, "r 0\nr 0\nr 0\n");
    server.send_waiting(&mut writer, write("w 0", &message(2, 20_000)));
    holder.ask("unlock 0\n", "OK\n");
    (0..3).for_each(|_| expect_data(&mut reader, "v=1 n=1", &data));
    writer.expect("OK v=2\n");
    assert_eq!(server.stat("sent_uncopied"), 3);
}

/// The mean size of the messages decided where one of them was copied.
#[test]
fn a_longer_message_among_small_ones_is_copied_by_a_worker() {
    let server = Server::start_with_socket("1 8192 0 8192");
    let mut client = server.connect();
    let data = message(1, 6 * MIB);
    client.send("put 0\nx\n".repeat(100));
    (1..=100).for_each(|number| client.expect(format!("OK v={number} n={number}\n")));
    client.ask(write("put 0", &data), "OK v=101 n=101\n");
    client.send("r 0\n");
    expect_data(&mut client, "v=101 n=101", &data);
    assert_eq!(server.stat("sent_uncopied"), 0);
}
