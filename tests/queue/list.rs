//! Versions and counts of a list.

use dipc_testkit::rng::Rng;

use crate::small;

#[test]
fn put_adds_take_removes_the_oldest_and_read_shows_the_newest() {
    let server = small();
    let mut client = server.connect();
    client.ask("take 0 wait=0\n", "NO empty\n");
    client.ask("put 0\na\nput 0\nb\nput 0 1\nc\n", "OK v=1 n=1\nOK v=2 n=2\nOK v=3 n=3\n");
    client.ask("r 0\n", "DATA 1 v=3 n=3\nc\n");
    client.ask("take 0\n", "DATA 1 v=1 n=2\na\n");
    client.ask("put 0\nd\n", "OK v=4 n=3\n");
    client.ask("take 0\ntake 0\n", "DATA 1 v=2 n=2\nb\nDATA 1 v=3 n=1\nc\n");
    client.ask("r 0\n", "DATA 1 v=4 n=1\nd\n");
    client.ask("take 0\n", "DATA 1 v=4 n=0\nd\n");
    // An empty mailbox keeps its version.
    client.ask("r 0\ntake 0 wait=0\n", "DATA 0 v=4 n=0\n\nNO empty\n");
    client.ask("put 0\ne\n", "OK v=5 n=1\n");
}

#[test]
fn a_write_replaces_the_whole_list() {
    let server = small();
    let mut client = server.connect();
    client.ask("put 0\na\nput 0\nb\nput 0\nc\n", "OK v=1 n=1\nOK v=2 n=2\nOK v=3 n=3\n");
    client.ask("w 0 if=2\nno\n", "NO conflict v=3\n");
    client.ask("w 0 if=3\nalone\n", "OK v=4\n");
    client.ask("r 0\ntake 0\n", "DATA 5 v=4 n=1\nalone\nDATA 5 v=4 n=0\nalone\n");
    client.ask("w 0 if=4\nagain\nput 0\nmore\n", "OK v=5\nOK v=6 n=2\n");
}

#[test]
fn a_part_of_a_list_cannot_be_written() {
    let server = small();
    let mut client = server.connect();
    client.ask("put 0\nhello\nw 0 off=0\nj\n", "OK v=1 n=1\nOK v=2\n");
    client.ask("put 0\nworld\nw 0 off=0\nx\n", "OK v=3 n=2\nNO multi\n");
    client.ask("w 0 off=0 if=2\nx\n", "NO conflict v=3\n");
    client.ask("r 0 off=1 len=3\n", "DATA 3 v=3 n=2\norl\n");
    client.ask("take 0\nw 0 off=5\n!\n", "DATA 5 v=2 n=1\njello\nOK v=4\n");
    client.ask("r 0\n", "DATA 6 v=4 n=1\nworld!\n");
    client.ask("take 0\nw 0 off=2\nz\n", "DATA 6 v=4 n=0\nworld!\nOK v=5\n");
    client.ask("r 0\n", b"DATA 3 v=5 n=1\n\0\0z\n");
}

#[test]
fn read_after_shows_each_message_and_counts_lost_ones() {
    let server = small();
    let mut client = server.connect();
    for version in 1..=5 {
        client.ask(format!("put 0\n{version}\n"), format!("OK v={version} n={version}\n"));
    }
    for version in 0..5 {
        client.ask(format!("r 0 after={version} wait=0\n"), format!("DATA 1 v={0} n=5\n{0}\n", version + 1));
    }
    client.ask("r 0 after=5 wait=0\nr 0 after=99 wait=0\n", "NO timeout v=5\nNO ahead v=5\n");
    client.ask("take 0\ntake 0\n", "DATA 1 v=1 n=4\n1\nDATA 1 v=2 n=3\n2\n");
    client.ask("r 0 after=0 wait=0\n", "DATA 1 v=3 n=3 lost=2\n3\n");
    client.ask("r 0 after=1 wait=0\nr 0 after=2 wait=0\n", "DATA 1 v=3 n=3 lost=1\n3\nDATA 1 v=3 n=3\n3\n");
    client.ask("w 0\nnew\nr 0 after=2 wait=0\n", "OK v=6\nDATA 3 v=6 n=1 lost=3\nnew\n");
    client.ask("take 0\nr 0 after=2 wait=0\n", "DATA 3 v=6 n=0\nnew\nNO timeout v=6\n");
}

/// Applies many pseudo-random requests to a naive list and to the server.
#[test]
fn versions_and_counts_match_a_naive_list() {
    let server = small();
    let mut client = server.connect();
    let (mut version, mut list) = (0u64, Vec::<(u64, usize)>::new());
    let live = |list: &[(u64, usize)]| list.iter().map(|(_, len)| len + 4).sum::<usize>();
    let mut rng = Rng::new(7);
    for _ in 0..3000 {
        let len = rng.below(400) as usize;
        let body = format!("{len} wait=0\n{}\n", "y".repeat(len));
        match rng.below(8) {
            0..3 if live(&list) + len <= 1024 => {
                version += 1;
                list.push((version, len));
                client.ask(format!("put 0 {body}"), format!("OK v={version} n={}\n", list.len()));
            }
            0..3 => client.ask(format!("put 0 {body}"), "NO full\n"),
            3 => {
                while live(&list) + len > 1024 {
                    list.remove(0);
                }
                version += 1;
                list.push((version, len));
                let dropping = body.replacen(" wait=0", " full=drop", 1);
                client.ask(format!("put 0 {dropping}"), format!("OK v={version} n={}\n", list.len()));
            }
            4 if len < 50 => {
                version += 1;
                list = vec![(version, len)];
                client.ask(format!("w 0 {body}"), format!("OK v={version}\n"));
            }
            4 | 5 => {
                let (v, len) = list.last().copied().unwrap_or((version, 0));
                let answer = format!("DATA {len} v={v} n={}\n{}\n", list.len(), "y".repeat(len));
                client.ask("r 0\n", answer);
            }
            _ if list.is_empty() => client.ask("take 0 wait=0\n", "NO empty\n"),
            _ => {
                let (v, len) = list.remove(0);
                let answer = format!("DATA {len} v={v} n={}\n{}\n", list.len(), "y".repeat(len));
                client.ask("take 0 wait=0\n", answer);
            }
        }
    }
}

#[test]
fn empty_messages_count_as_messages() {
    let server = small();
    let mut client = server.connect();
    client.ask("put 0 0\n\nput 0\n\nput 0 0\n\n", "OK v=1 n=1\nOK v=2 n=2\nOK v=3 n=3\n");
    client.ask("take 0\ntake 0\ntake 0\n", "DATA 0 v=1 n=2\n\nDATA 0 v=2 n=1\n\nDATA 0 v=3 n=0\n\n");
    // Each message beyond the first costs four bytes.
    for count in 1..=257 {
        client.ask("put 0 0 wait=0\n\n", format!("OK v={} n={count}\n", count + 3));
    }
    client.ask("put 0 0 wait=0\n\n", "NO full\n");
}

#[test]
fn pipelined_takes_are_answered_in_order() {
    let server = small();
    let mut client = server.connect();
    let puts: String = (1..=100).map(|number| format!("put 0\n{number:03}\n")).collect();
    client.send(puts);
    (1..=100).for_each(|count| client.expect(format!("OK v={count} n={count}\n")));
    client.send("take 0\n".repeat(100) + "take 0 wait=0\nping\n");
    for number in 1..=100 {
        client.expect(format!("DATA 3 v={number} n={}\n{number:03}\n", 100 - number));
    }
    client.expect("NO empty\nOK\n");
}
