//! Messages of which a torn copy is recognized.

use dipc_testkit::client::Client;

/// Bytes of a message.
pub(crate) const SIZE: usize = 64 * 1024;

/// A message repeats one number of eight bytes in its first half, and another in its second, so that a torn
/// copy is recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub front: u64,
    pub back: u64,
}

/// The content of a mailbox, now or when the server acknowledged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub version: u64,
    pub message: Message,
}

pub(crate) fn whole(mailbox: usize, Message { front, back }: Message) -> Vec<u8> {
    let half = |number: u64| number.to_ne_bytes().repeat(SIZE / 2 / 8);
    [format!("w {mailbox} {SIZE}\n").into_bytes(), half(front), half(back), b"\n".to_vec()].concat()
}

/// Reads the mailbox, which must hold one whole message.
pub(crate) fn read(client: &mut Client, mailbox: usize) -> Content {
    client.send(format!("r {mailbox}\n"));
    let (header, data) = client.data();
    let version = header.strip_prefix(&format!("DATA {SIZE} v=")).and_then(|rest| rest.strip_suffix(" n=1"));
    let version = version.unwrap_or_else(|| panic!("mailbox {mailbox}: {header}"));
    let half = |bytes: &[u8]| {
        let word: [u8; 8] = bytes[..8].try_into().expect("eight bytes");
        assert!(bytes == word.repeat(SIZE / 2 / 8), "a torn message in mailbox {mailbox}, {header}");
        u64::from_ne_bytes(word)
    };
    let message = Message { front: half(&data[..SIZE / 2]), back: half(&data[SIZE / 2..]) };
    Content { version: version.parse().expect("a version"), message }
}
