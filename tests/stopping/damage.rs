//! A damaged segment.

use std::fs;

use dipc_testkit::process::run;

use crate::Restartable;

/// A change of the bytes of a segment.
type Damage = fn(&mut Vec<u8>);

/// Damages, with a part of the reason for which the segment is refused.
const DAMAGES: [(&str, Damage, &str); 15] = [
    ("other magic", |bytes| bytes[0] = b'D', "not made by dipc"),
    ("the other byte order", |bytes| bytes[8..12].reverse(), "byte order"),
    ("the next format", |bytes| bytes[12] += 1, "another version"),
    ("the previous format", |bytes| bytes[12] -= 1, "another version"),
    ("other mailboxes", |bytes| bytes[16] ^= 1, "damaged header"),
    ("another user", |bytes| bytes[20] ^= 1, "damaged header"),
    ("another capacity", |bytes| bytes[26] ^= 1, "damaged header"),
    ("another packet", |bytes| bytes[33] ^= 1, "damaged header"),
    ("something in the empty part", |bytes| bytes[2000] = 1, "damaged header"),
    ("another checksum", |bytes| bytes[4095] ^= 1, "damaged header"),
    ("a byte less", |bytes| bytes.truncate(bytes.len() - 1), "not as long"),
    ("a byte more", |bytes| bytes.push(0), "not as long"),
    ("only its header", |bytes| bytes.truncate(4096), "not as long"),
    ("half its header", |bytes| bytes.truncate(2048), "shorter than its header"),
    ("no bytes", |bytes| bytes.clear(), "shorter than its header"),
];

#[test]
fn a_damaged_segment_is_refused_and_kept() {
    let mut restartable = Restartable::start();
    restartable.connect().ask("w 3\nhello\n", "OK v=1\n");
    restartable.kill();
    let whole = fs::read(restartable.segment()).expect("the segment");
    for (what, damage, reason) in DAMAGES {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(restartable.segment(), &bytes).expect("written");
        let said = restartable.refused("4 64", "8", 4);
        assert!(said.contains(reason) && said.contains("--fresh"), "{what}: {said}");
        let directory = restartable.segment().parent().expect("a directory").display().to_string();
        assert!(said.contains(&directory), "{what}: {said}");
        assert!(fs::read(restartable.segment()).expect("kept") == bytes, "{what}: the segment was changed");
    }
    fs::write(restartable.segment(), &whole).expect("written");
    restartable.again();
    restartable.connect().ask("r 3\n", "DATA 5 v=1 n=1\nhello\n");
}

#[test]
fn a_damaged_segment_is_removed_by_a_fresh_start_or_by_dipcrm() {
    let mut restartable = Restartable::start();
    restartable.kill();
    fs::write(restartable.segment(), "no segment").expect("written");
    restartable.refused("4 64", "8", 4);
    restartable.restart("4 64", "8 --fresh");
    restartable.connect().ask("ping\n", "OK\n");
    restartable.kill();
    fs::write(restartable.segment(), "no segment").expect("written");
    assert_eq!(run(&mut restartable.server.dipcrm()).code, Some(0));
    restartable.again();
    restartable.connect().ask("ping\n", "OK\n");
}
