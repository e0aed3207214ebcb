//! Streams that are cut into packets are answered like streams in one piece.

use crate::streams::all_streams;
use crate::{Harness, shown, stream, wordless};

#[test]
fn each_stream_is_answered_as_the_protocol_says() {
    let mut harness = Harness::new();
    for stream in all_streams() {
        let answers = harness.play(&stream, &[]);
        assert_eq!(wordless(&answers), stream.answers, "{}", shown(&stream.bytes));
    }
    assert_eq!(harness.server.stat("err_internal"), 0);
    assert_eq!(harness.server.stat("foreign_protocols"), 4);
}

#[test]
fn a_cut_anywhere_changes_no_answer() {
    let mut harness = Harness::new();
    for stream in all_streams() {
        let whole = harness.play(&stream, &[]);
        for cut in 1..stream.bytes.len() {
            assert_eq!(harness.play(&stream, &[cut]), whole, "{} cut at {cut}", shown(&stream.bytes));
        }
    }
}

#[test]
fn two_cuts_anywhere_change_no_answer() {
    let mut harness = Harness::new();
    for stream in all_streams().iter().filter(|stream| stream.bytes.len() <= 32) {
        let whole = harness.play(stream, &[]);
        for second in 2..stream.bytes.len() {
            for first in 1..second {
                let answers = harness.play(stream, &[first, second]);
                assert_eq!(answers, whole, "{} cut at {first} and {second}", shown(&stream.bytes));
            }
        }
    }
}

#[test]
fn a_stream_sent_byte_by_byte_is_answered_like_the_whole() {
    let mut harness = Harness::new();
    for stream in all_streams() {
        let whole = harness.play(&stream, &[]);
        let cuts: Vec<usize> = (1..stream.bytes.len()).collect();
        assert_eq!(harness.play(&stream, &cuts), whole, "{}", shown(&stream.bytes));
    }
}

#[test]
fn many_requests_in_one_packet_are_answered_in_order() {
    let mut harness = Harness::new();
    let (mut bytes, mut answers) = (Vec::new(), String::new());
    for number in 1..=2000 {
        bytes.extend_from_slice(format!("w 3 4\n{number:04}\nr 3\r\n").as_bytes());
        answers += &format!("OK v=+{number}\nDATA 4 v=+{number} n=1\r\n{number:04}\r\n");
    }
    let mut writes: Vec<&[u8]> = vec![b""; 1999];
    writes.push(b"2000");
    let stream = stream(bytes, &answers, &writes);
    let scattered: Vec<usize> = (1..stream.bytes.len()).step_by(997).collect();
    for cuts in [&[][..], &[20_001], &scattered] {
        assert!(harness.play(&stream, cuts) == stream.answers, "cut at {cuts:?}");
    }
    assert_eq!(harness.server.stat("overtakes"), 0);
}
