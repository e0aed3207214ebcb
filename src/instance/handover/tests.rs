//! First messages that differ, and messages with other descriptors than expected.

use std::fs::File;
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::*;

fn description() -> Description {
    Description {
        geometry: Geometry { mailboxes: 4, capacity: 65536, packet: 8192 },
        tcp: Some("127.0.0.1:5000".parse().expect("an address")),
        classic: Some("127.0.0.1:5001".parse().expect("an address")),
        unix: Some("/tmp/a\nb".into()),
    }
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("a pair")
}

#[test]
fn a_description_survives_its_message() {
    for own in [description(), Description { tcp: None, classic: None, unix: None, ..description() }] {
        let hello = own.hello();
        assert_eq!(parse(split_line(&hello[HELLO.len()..]).1), Some(own.clone()));
        assert_eq!(own.examine(&hello), Ok(()));
    }
}

#[test]
fn every_difference_is_refused_with_its_name() {
    let own = description();
    let with = |change: &dyn Fn(&mut Description)| {
        let mut new = description();
        change(&mut new);
        own.examine(&new.hello()).expect_err("different")
    };
    for (refusal, word) in [
        (with(&|new| new.geometry.mailboxes = 5), "5 of 64 kB"),
        (with(&|new| new.geometry.capacity = 1024), "4 of 1 kB"),
        (with(&|new| new.geometry.packet = 1024), "packets of 1 kB"),
        (with(&|new| new.tcp = None), "not none"),
        (with(&|new| new.tcp = "127.0.0.2:5000".parse().ok()), "127.0.0.2:5000"),
        (with(&|new| new.classic = None), "classic"),
        (with(&|new| new.classic = "127.0.0.1:5002".parse().ok()), "127.0.0.1:5002"),
        (with(&|new| new.classic = "127.0.0.2:0".parse().ok()), "127.0.0.2:0"),
        (with(&|new| new.unix = None), "Unix-domain"),
        (with(&|new| new.unix = Some("/tmp/c".into())), "/tmp/c"),
    ] {
        assert_eq!(refusal.code, 4, "{refusal:?}");
        assert!(refusal.reason.contains(word), "{refusal:?}");
    }
}

#[test]
fn classic_port_0_is_any_second_port() {
    let any = Description { classic: "127.0.0.1:0".parse().ok(), ..description() };
    assert_eq!(description().examine(&any.hello()), Ok(()));
    let main = Description { classic: description().tcp, ..description() };
    assert!(main.examine(&any.hello()).is_err(), "PORT itself is the classic port");
}

#[test]
fn another_version_and_a_damaged_message_are_refused() {
    for (hello, word) in [
        (&b"takeover 2\nanything"[..], "and not 2"),
        (b"takeover 10\n", "and not 10"),
        (b"takeover ", "and not"),
        (b"takeover 1\n4 65536\n-\n-\n", "damaged"),
        (b"takeover 1\n4 65536 8192\nhere\n-\n", "damaged"),
        (b"takeover 1", "damaged"),
    ] {
        let refusal = description().examine(hello).expect_err("refused");
        assert!(refusal.code == 4 && refusal.reason.contains(word), "{hello:?}: {refusal:?}");
    }
}

#[test]
fn the_expected_descriptors_are_received_and_closed_on_exec() {
    let ((old, new), null) = (pair(), File::open("/dev/null").expect("opened"));
    let null = null.as_fd();
    let kinds = [SocketKind::Tcp, SocketKind::Classic, SocketKind::Unix, SocketKind::Udp];
    send_descriptors(&old, [null, null], &kinds.map(|kind| (kind, null)), 7).expect("sent");
    let received = receive_descriptors(&new, &description()).expect("received");
    assert_eq!((received.inode, received.sockets.len()), (7, 4));
    for fd in received.sockets.iter().map(|(_, fd)| fd).chain([&received.lock, &received.segment]) {
        let flags = FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).expect("open"));
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }
}

#[test]
fn other_descriptors_are_refused_and_closed() {
    let open = || std::fs::read_dir("/proc/self/fd").expect("read").count();
    let null = File::open("/dev/null").expect("opened");
    let null = null.as_fd();
    let ((old, new), short) = (pair(), Description { unix: None, classic: None, ..description() });
    let before = open();
    for kinds in [&[][..], &[SocketKind::Udp], &[SocketKind::Tcp, SocketKind::Tcp], &[SocketKind::Tcp; 100]] {
        let sockets: Vec<_> = kinds.iter().map(|kind| (*kind, null)).collect();
        send_descriptors(&old, [null, null], &sockets, 0).expect("sent");
        let error = receive_descriptors(&new, &short).expect_err("refused");
        assert!(matches!(error, ReceiveError::Unexpected(_)), "{error:?}");
    }
    // Fewer descriptors than the words say.
    let rights = [null.as_raw_fd(); 2];
    let message = [IoSlice::new(b"descriptors 0 tcp")];
    let rights = [ControlMessage::ScmRights(&rights)];
    sendmsg::<()>(old.as_raw_fd(), &message, &rights, MsgFlags::empty(), None).expect("sent");
    assert!(receive_descriptors(&new, &short).is_err());
    // Other tests of this process may open and close descriptors meanwhile, but not hundreds.
    assert!(open() < before + 50, "{} descriptors, {before} before", open());
    drop(old);
    assert!(matches!(receive_descriptors(&new, &short), Err(ReceiveError::Ended)));
}
