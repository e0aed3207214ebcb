//! A kill within the copy of a message.

use std::fs::{self, File};
use std::hint::spin_loop;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use dipc_testkit::client::Client;
use dipc_testkit::port::Port;
use dipc_testkit::rng::Rng;
use dipc_testkit::server::Server;
use dipc_testkit::wait::HANG;
use nix::sys::signal::Signal::SIGKILL;

use crate::kills;
use crate::message::{Content, Message};

/// Bytes of the message. Each request changes one number in it, so the server spends most of its time with
/// the copy.
const LARGE: usize = 64 * 1024 * 1024;

#[test]
fn a_kill_within_a_copy_leaves_the_message_before_or_after_it_whole() {
    let port = Port::reserve();
    let arguments = format!("1 65536 {} 65536", port.number);
    let mut server = Server::start(&arguments);
    let path = server.directory.path().join(server.port.to_string()).join("segment");
    let mut client = server.connect();
    let mut content = Content { version: 0, message: Message { front: 0, back: 0 } };
    let places = [0x6d61_696c_626f_7801, 0x6d61_696c_626f_7802].map(|number| {
        content = Content { version: content.version + 1, message: Message { front: number, back: number } };
        let request = [format!("w 0 {LARGE}\n").as_bytes(), &large(content.message), b"\n"].concat();
        client.ask(request, format!("OK v={}\n", content.version));
        place_of(number, &path)
    });
    let memory = File::open(&path).expect("the memory of the server");
    let mut random = Rng::new(4);
    let mut number = 0;
    let mut caught = 0;
    let kills = kills().div_ceil(10);
    for round in 1..=kills {
        for _ in 0..=random.below(2) {
            number += 1;
            let (next, request) = change(content, number);
            client.ask(request, format!("OK v={}\n", next.version));
            content = next;
        }
        number += 1;
        let (next, request) = change(content, number);
        let words = || places.map(|place| word_at(&memory, place));
        let before = words();
        client.send(request);
        // There is no pause between two checks, because a copy takes only a few milliseconds.
        let sent = Instant::now();
        while words() == before {
            assert!(sent.elapsed() < HANG, "the copy does not begin");
        }
        (0..random.below(2_000)).for_each(|_| spin_loop());
        server.signal(SIGKILL);
        let acknowledged = !client.read_to_end().is_empty();
        server.wait();
        server.restart(&arguments);
        client = server.connect();
        let found = ends(&mut client);
        let is_old = found == content;
        assert!(!(is_old && acknowledged), "{next:x?} was acknowledged, {found:x?} is there, kill {round}");
        caught += u64::from(is_old);
        content = if is_old { content } else { next };
        assert_eq!(found, content, "kill {round}");
    }
    client.send("r 0\n");
    assert!(client.data().1 == large(content.message), "not {content:x?}");
    println!("{caught} of {kills} kills came before the end of a copy");
    assert!(caught > 0, "no kill came before the end of a copy");
}

/// The numbers at the front and at the back. They differ from the expected ones if the message is torn.
fn ends(client: &mut Client) -> Content {
    let [front, back] = [0, LARGE - 8].map(|offset| {
        client.send(format!("r 0 off={offset} len=8\n"));
        let (header, data) = client.data();
        let version = header.strip_prefix("DATA 8 v=").and_then(|rest| rest.strip_suffix(" n=1"));
        let version: u64 =
            version.and_then(|version| version.parse().ok()).unwrap_or_else(|| panic!("{header}"));
        (version, u64::from_ne_bytes(data.try_into().expect("eight bytes")))
    });
    assert_eq!(front.0, back.0);
    Content { version: front.0, message: Message { front: front.1, back: back.1 } }
}

/// Zeros between two numbers.
fn large(Message { front, back }: Message) -> Vec<u8> {
    let mut message = vec![0; LARGE];
    message[..8].copy_from_slice(&front.to_ne_bytes());
    message[LARGE - 8..].copy_from_slice(&back.to_ne_bytes());
    message
}

/// Changes the number at the front or at the back, in turn. In both cases a copy begins with a new front and
/// ends with a new back.
fn change(content: Content, number: u64) -> (Content, Vec<u8>) {
    let Content { version, message: Message { front, back } } = content;
    let (message, offset) = match version % 2 {
        0 => (Message { front: number, back }, 0),
        _ => (Message { front, back: number }, LARGE - 8),
    };
    let request = [format!("w 0 8 off={offset}\n").as_bytes(), &number.to_ne_bytes(), b"\n"].concat();
    (Content { version: version + 1, message }, request)
}

/// The offset of a number in the memory of the server.
fn place_of(number: u64, memory: &Path) -> u64 {
    let memory = fs::read(memory).expect("the memory of the server");
    let mut places = (0..memory.len() - 8).step_by(4);
    places.find(|place| memory[*place..][..8] == number.to_ne_bytes()).expect("the number is in the memory")
        as u64
}

fn word_at(memory: &File, place: u64) -> [u8; 8] {
    let mut word = [0; 8];
    memory.read_exact_at(&mut word, place).expect("the memory of the server");
    word
}
