//! A reader that is stopped between two of its instructions while the mailbox is changed: it returns one of
//! the states, whole, or refuses.

use std::cell::{Cell, RefCell};

use dipc::client::local::{Copied, Cursor, Local, Miss};
use dipc_testkit::client::Client;
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::Scene;

/// How a reader ends.
const WHOLE: i32 = 0;
const REFUSED: i32 = 1;
const WRONG: i32 = 2;

/// The distance of the instructions at which readers are stopped.
fn stride() -> usize {
    std::env::var("DIPC_LOCAL_STRIDE")
        .map_or(23, |stride| stride.parse().expect("DIPC_LOCAL_STRIDE is a number"))
}

/// Runs `read` in a child process, and stops it after `steps` instructions while `change` is called. `check`
/// then decides how the reader ended. Returns its decision, and whether the reader was stopped before its
/// end.
fn stopped_after<R>(
    steps: usize,
    read: impl Fn() -> R,
    check: impl Fn(R) -> i32,
    change: impl FnOnce(),
) -> (i32, bool) {
    // SAFETY: the child reads mapped memory and makes system calls. It takes no lock and allocates nothing,
    // so the state of other threads at the fork does not matter.
    #[allow(unsafe_code, reason = "a process of its own can be stopped at each instruction")]
    match unsafe { fork() }.expect("forked") {
        ForkResult::Child => {
            let traced = ptrace::traceme().and_then(|()| raise(Signal::SIGSTOP));
            let result = read();
            let ended = raise(Signal::SIGSTOP);
            let code = if traced.and(ended).is_ok() { check(result) } else { WRONG };
            // SAFETY: ends the child without running destructors or exit handlers of the parent.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => step(child, steps, change),
    }
}

/// Steps over the instructions between the two signals that the child raises.
fn step(child: Pid, steps: usize, change: impl FnOnce()) -> (i32, bool) {
    let wait = || waitpid(child, None).expect("it is a child of this process");
    assert_eq!(wait(), WaitStatus::Stopped(child, Signal::SIGSTOP));
    let mut has_ended = false;
    for _ in 0..steps {
        ptrace::step(child, None).expect("stepped");
        has_ended = wait() == WaitStatus::Stopped(child, Signal::SIGSTOP);
        if has_ended {
            break;
        }
    }
    change();
    loop {
        ptrace::cont(child, None).expect("continued");
        match wait() {
            WaitStatus::Exited(_, code) => return (code, !has_ended),
            other => assert_eq!(other, WaitStatus::Stopped(child, Signal::SIGSTOP)),
        }
    }
}

/// Stops the reader at each of its instructions in turn. `prepare` makes the state before, `change` the one
/// after. Expects that the reader is right each time, and that both outcomes occur.
fn assert_right_at_every_stop<R: Copy>(
    mut prepare: impl FnMut(),
    read: impl Fn(&mut Vec<u8>) -> Result<R, Miss>,
    is_right: impl Fn(R, &[u8]) -> bool,
    mut change: impl FnMut(),
) {
    // The buffer needs no allocation, so that a forked reader can use it.
    let buffer = RefCell::new(Vec::with_capacity(4096));
    let read = || read(&mut buffer.borrow_mut());
    let check = |result| match result {
        Ok(found) if is_right(found, &buffer.borrow()) => WHOLE,
        Err(Miss::Held | Miss::Busy) => REFUSED,
        Ok(_) | Err(_) => WRONG,
    };
    let (mut at, mut whole, mut refused) = (0, 0, 0);
    loop {
        prepare();
        let (code, is_stopped) = stopped_after(at, read, check, &mut change);
        if !is_stopped {
            break;
        }
        match code {
            WHOLE => whole += 1,
            REFUSED => refused += 1,
            _ => panic!("a wrong result of a reader that was stopped after {at} instructions"),
        }
        at += stride();
    }
    println!("{at} instructions: {whole} reads were whole, {refused} refused");
    assert!(whole > 0 && at > 100);
}

/// Whether all bytes are the digit of the version, as many as the version says.
fn is_of(version: u64, bytes: &[u8]) -> bool {
    bytes.len() == len(version) && bytes.iter().all(|byte| *byte == digit(version))
}

fn len(version: u64) -> usize {
    20 + (version % 7) as usize * 3
}

fn digit(version: u64) -> u8 {
    b'a' + (version % 26) as u8
}

/// Sends a request whose data is that of the next version.
fn store(client: &mut Client, request: &str, version: u64) {
    let data = vec![digit(version); len(version)];
    client.send([format!("{request} {}\n", data.len()).as_bytes(), &data, b"\n"].concat());
    assert!(client.line().starts_with(&format!("OK v={version}")));
}

fn scene() -> (Scene, Local, Client) {
    let scene = Scene::new("2 1 0 1");
    let (local, mut client) = (scene.local(), scene.server.connect());
    store(&mut client, "w 0", 1);
    (scene, local, client)
}

#[test]
fn a_reader_that_is_stopped_during_writes_returns_one_message() {
    for writes in 1..=4 {
        let (_scene, local, client) = scene();
        let (client, version) = (RefCell::new(client), Cell::new(1));
        assert_right_at_every_stop(
            || (),
            |buffer| local.read(0, buffer),
            |found, bytes| {
                let possible = version.get()..=version.get() + writes;
                possible.contains(&found.version) && found.count == 1 && is_of(found.version, bytes)
            },
            || {
                for _ in 0..writes {
                    version.set(version.get() + 1);
                    store(&mut client.borrow_mut(), "w 0", version.get());
                }
            },
        );
    }
}

/// A change of a list with the messages 0, 2 and 4 behind its first version.
#[derive(Clone, Copy)]
enum Change {
    RemoveNewest,
    RemoveOldest,
    Append,
    Replace,
}

impl Change {
    fn execute(self, client: &mut Client, first: u64) {
        match self {
            Change::RemoveNewest => client.ask(format!("done 0 v={}\n", first + 4), "OK n=2\n"),
            Change::RemoveOldest => client.ask(format!("done 0 v={first}\n"), "OK n=2\n"),
            Change::Append => store(client, "put 0", first + 5),
            Change::Replace => store(client, "w 0", first + 5),
        }
    }

    /// Version, count and message of a read after the change, the versions from the first one on.
    fn newest(self) -> (u64, u64, u64) {
        match self {
            Change::RemoveNewest => (4, 2, 2),
            Change::RemoveOldest => (4, 2, 4),
            Change::Append => (5, 4, 5),
            Change::Replace => (5, 1, 5),
        }
    }

    /// Version, count and lost messages of the first message behind the first one, after the change.
    fn second(self) -> (u64, u64, u64) {
        match self {
            Change::RemoveNewest | Change::RemoveOldest => (2, 2, 1),
            Change::Append => (2, 4, 1),
            Change::Replace => (5, 1, 4),
        }
    }
}

/// Writes the list. Its messages are in hand of the client. Returns the first version.
fn list_with_holes(client: &mut Client) -> u64 {
    client.send("r 0\n");
    let first = dipc_testkit::client::field(&client.data().0, "v") + 1;
    store(client, "w 0", first);
    (1..5).for_each(|index| store(client, "put 0", first + index));
    for _ in 0..5 {
        client.send("take 0 ttl=30\n");
        client.data();
    }
    client.ask(format!("done 0 v={}\n", first + 1), "OK n=4\n");
    client.ask(format!("done 0 v={}\n", first + 3), "OK n=3\n");
    first
}

#[test]
fn a_reader_that_is_stopped_during_changes_of_a_list_with_holes_returns_one_state() {
    let (scene, local, client) = scene();
    let (client, first) = (RefCell::new(client), Cell::new(0));
    for change in [Change::RemoveNewest, Change::RemoveOldest, Change::Append, Change::Replace] {
        let prepare = || {
            // A new connection has no messages in hand.
            *client.borrow_mut() = scene.server.connect();
            first.set(list_with_holes(&mut client.borrow_mut()));
        };
        let execute = || change.execute(&mut client.borrow_mut(), first.get());
        let is_newest = |found: Copied, bytes: &[u8]| {
            [(4, 3, 4), change.newest()].into_iter().any(|(version, count, message)| {
                (found.version, found.count) == (first.get() + version, count)
                    && is_of(first.get() + message, bytes)
            })
        };
        assert_right_at_every_stop(prepare, |buffer| local.read(0, buffer), is_newest, execute);
        let read = |buffer: &mut Vec<u8>| local.after(&mut Cursor::at(0, first.get()), buffer);
        let is_second = |found: Option<Copied>, bytes: &[u8]| {
            let Some(found) = found else { return false };
            let states = [(2, 3, 1), change.second()];
            let is_state =
                |(version, count, lost)| found == Copied { version: first.get() + version, count, lost };
            states.into_iter().any(is_state) && is_of(found.version, bytes)
        };
        assert_right_at_every_stop(prepare, read, is_second, execute);
    }
}

/// A lock begins, its holder writes something unfinished, and the lock ends.
#[test]
fn a_reader_that_is_stopped_during_a_lock_returns_nothing_unfinished() {
    let (_scene, local, client) = scene();
    let (client, version) = (RefCell::new(client), Cell::new(1));
    let begin = || {
        let mut client = client.borrow_mut();
        client.lock("lock 0\n");
        client.ask("w 0\nunfinished\n", format!("OK v={}\n", version.get() + 1));
    };
    let end = || {
        version.set(version.get() + 2);
        store(&mut client.borrow_mut(), "w 0", version.get());
        client.borrow_mut().ask("unlock 0\n", "OK\n");
    };
    let read = |buffer: &mut Vec<u8>| local.read(0, buffer);
    let begin_and_end = || {
        begin();
        end();
    };
    let is_whole = |found: Copied, bytes: &[u8]| {
        [version.get(), version.get() + 2].contains(&found.version) && is_of(found.version, bytes)
    };
    assert_right_at_every_stop(|| (), read, is_whole, begin_and_end);
    // The lock ends when the reader has ended.
    begin();
    let is_earlier =
        |found: Copied, bytes: &[u8]| found.version == version.get() && is_of(found.version, bytes);
    assert_right_at_every_stop(end, read, is_earlier, begin);
}
