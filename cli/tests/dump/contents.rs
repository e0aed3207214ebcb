//! The contents of a server as the protocol tells them, and mailboxes with every kind of contents.

use std::path::PathBuf;

use dipc_testkit::client::{Client, field};
use dipc_testkit::server::Server;

/// The answers that describe one mailbox: to `name`, to `r`, and to `r after=` from the oldest message on.
pub(crate) type Answers = Vec<(String, Vec<u8>)>;

/// The answers of each of these mailboxes.
pub(crate) fn contents(server: &Server, mailboxes: u32) -> Vec<Answers> {
    let mut client = server.connect();
    (0..mailboxes).map(|mailbox| answers(&mut client, mailbox)).collect()
}

fn answers(client: &mut Client, mailbox: u32) -> Answers {
    client.send(format!("name {mailbox}\nr {mailbox}\n"));
    let mut answers = vec![client.message(), client.message()];
    let mut after = 0;
    loop {
        client.send(format!("r {mailbox} after={after} wait=0\n"));
        let answer = client.message();
        let is_last = answer.0.starts_with("NO");
        after = field(&answer.0, "v");
        answers.push(answer);
        if is_last {
            return answers;
        }
    }
}

/// A path in the directory of the server.
pub(crate) fn file(server: &Server, name: &str) -> String {
    let path: PathBuf = server.directory.join(name);
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Puts messages.
pub(crate) fn put(client: &mut Client, mailbox: u32, messages: impl IntoIterator<Item = Vec<u8>>) {
    for data in messages {
        client.send([format!("put {mailbox} {}\n", data.len()).as_bytes(), &data, b"\n"].concat());
        assert!(client.line().starts_with("OK"));
    }
}

/// Takes messages and removes them.
pub(crate) fn take(client: &mut Client, mailbox: u32, count: usize) {
    for _ in 0..count {
        client.send(format!("take {mailbox} wait=0\n"));
        client.data();
    }
}

/// Removes the messages with these versions, which are newer than others. `before`: how many messages are not
/// newer than the last of them.
pub(crate) fn make_holes(server: &Server, mailbox: u32, before: usize, holes: impl IntoIterator<Item = u64>) {
    let mut workers = Vec::new();
    let mut holders = std::collections::HashMap::new();
    for at in 0..before {
        if at % 1024 == 0 {
            workers.push(server.connect());
        }
        let worker = workers.last_mut().expect("a worker");
        worker.send(format!("take {mailbox} ttl=600 wait=0\n"));
        holders.insert(field(&worker.data().0, "v"), at / 1024);
    }
    for hole in holes {
        workers[holders[&hole]].send(format!("done {mailbox} v={hole}\n"));
        assert!(workers[holders[&hole]].line().starts_with("OK"));
    }
    drop(workers);
    server.wait_for_stat_box(mailbox, "in_hand", |count| count == 0);
}

/// The sizes of the server of [`fill`].
pub(crate) const SIZES: &str = "12 64 0 64";
pub(crate) const MAILBOXES: u32 = 12;

/// Fills the mailboxes with every kind of contents. Returns a client that has two messages in hand.
pub(crate) fn fill(server: &Server) -> Client {
    let mut client = server.connect();
    let texts = |numbers: std::ops::Range<u32>| numbers.map(|number| number.to_string().into_bytes());
    // Mailbox 0 is new. Mailbox 1 is empty and has a version.
    put(&mut client, 1, texts(0..3));
    take(&mut client, 1, 3);
    put(&mut client, 2, texts(0..3000));
    // The ring of mailbox 3 has wrapped, within a message.
    for _ in 0..4 {
        put(&mut client, 3, [vec![b'a'; 20_000], vec![b'b'; 25_000]]);
        take(&mut client, 3, 2);
    }
    put(&mut client, 3, [vec![b'c'; 30_001], vec![b'd'; 30_002]]);
    // One message and many messages fill a mailbox.
    put(&mut client, 4, [vec![0xff; 65_536]]);
    put(&mut client, 5, (0..65_540 / 20).map(|_| vec![b'x'; 16]));
    // Holes in the middle, several together, and at the end.
    put(&mut client, 6, texts(0..12));
    make_holes(server, 6, 12, [3, 5, 6, 7, 11, 12]);
    put(&mut client, 7, texts(0..2600));
    make_holes(server, 7, 2500, [1100, 1101, 2499]);
    // Binary data, empty messages, and a name.
    put(
        &mut client,
        8,
        [b"a\nmessage 1 v=9\n\r\x00\xff".to_vec(), Vec::new(), (0..=255).collect(), Vec::new()],
    );
    client.ask("name 8 jobs.8\n", "OK name=jobs.8\n");
    client.ask("name 9 only-a-name\n", "OK name=only-a-name\n");
    // A version near the largest one, which is 2^62.
    client.ask("version 10 v=4611686018427387000\n", "OK v=4611686018427387000\n");
    put(&mut client, 10, texts(0..2));
    put(&mut client, 11, texts(0..5));
    for version in 1..=2 {
        client.send("take 11 ttl=600\n");
        assert_eq!(field(&client.data().0, "v"), version);
    }
    client
}
