//! The block alone: against a naive model, and killed between any two of its stores.
#![allow(unsafe_code, reason = "holds blocks without an admission queue, and forks")]

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use proptest::prelude::*;

use super::super::segment::tests::{SMALL, memory};
use super::super::{Geometry, Segment};
use super::*;

const CAPACITY: usize = SMALL.capacity as usize;

/// The block of mailbox 1 of 3, so that a stray store would hit a neighbour.
fn block(segment: &Segment) -> Block<'_> {
    // SAFETY: each test has its segment for itself, and one thread.
    unsafe { segment.block(1) }
}

fn content(segment: &Segment) -> (u64, u64, Vec<u8>) {
    let block = block(segment);
    let message = block.read(0, u64::MAX).expect("whole");
    (message.version, message.count, message.parts.concat())
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>),
    Patch(usize, Vec<u8>),
    Read(u64, u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..=CAPACITY);
    let patch = (0..=CAPACITY, bytes()).prop_map(|(offset, mut bytes)| {
        bytes.truncate(CAPACITY - offset);
        Step::Patch(offset, bytes)
    });
    let read =
        (0..2 * CAPACITY as u64, 0..2 * CAPACITY as u64).prop_map(|(offset, len)| Step::Read(offset, len));
    prop::collection::vec(
        prop_oneof![3 => bytes().prop_map(Step::Write), 3 => patch, 3 => read, 1 => Just(Step::Reopen)],
        1..60,
    )
}

proptest! {
    #[test]
    fn behaves_like_a_vector_of_bytes(steps in steps()) {
        let file = memory();
        let mut segment = Segment::create(&file, SMALL, 0).expect("created");
        let (mut version, mut model) = (0, None::<Vec<u8>>);
        for step in steps {
            match step {
                Step::Write(bytes) => {
                    version += 1;
                    prop_assert_eq!(block(&segment).write(&bytes), Ok(version));
                    model = Some(bytes);
                }
                Step::Patch(offset, bytes) => {
                    version += 1;
                    prop_assert_eq!(block(&segment).patch(offset, &bytes), Ok(version));
                    let message = model.get_or_insert_default();
                    message.resize(message.len().max(offset + bytes.len()), 0);
                    message[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
                Step::Read(offset, len) => {
                    let block = block(&segment);
                    let read = block.read(offset, len).expect("whole").parts.concat();
                    let message = model.as_deref().unwrap_or_default();
                    let start = message.len().min(offset as usize);
                    let end = message.len().min(start + len as usize);
                    prop_assert_eq!(read, &message[start..end]);
                }
                Step::Reopen => {
                    drop(segment);
                    segment = Segment::open(&file, SMALL).expect("opened");
                    prop_assert!(segment.recover().is_empty());
                }
            }
            let expected = (version, u64::from(model.is_some()), model.clone().unwrap_or_default());
            prop_assert_eq!(content(&segment), expected);
            prop_assert_eq!(segment.control(1).version(), Ok(version));
            prop_assert_eq!(segment.control(0).version(), Ok(0));
        }
    }
}

/// Runs `change` in a child process instruction by instruction. What a kill at that instant would leave behind is
/// exactly what the shared memory holds then, so it is looked at after every one of them.
fn at_every_instruction(segment: &Segment, change: impl Fn(&mut Block), mut look: impl FnMut()) -> usize {
    let mut target = block(segment);
    // SAFETY: the child only stores to memory that is mapped already and makes system calls; it takes no lock and
    // allocates nothing, so it does not matter which other threads were running.
    match unsafe { fork() }.expect("forked") {
        ForkResult::Child => {
            let traced = ptrace::traceme().and_then(|()| raise(Signal::SIGSTOP));
            if traced.is_ok() {
                change(&mut target);
            }
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { nix::libc::_exit(0) }
        }
        ForkResult::Parent { child } => step_to_the_end(child, &mut look),
    }
}

fn step_to_the_end(child: Pid, look: &mut impl FnMut()) -> usize {
    let mut steps = 0;
    loop {
        match waitpid(child, None).expect("the child is ours") {
            WaitStatus::Stopped(..) => {
                look();
                steps += 1;
                ptrace::step(child, None).expect("stepped");
            }
            WaitStatus::Exited(_, 0) => return steps,
            other => panic!("the child ended with {other:?}"),
        }
    }
}

/// What a server would find that starts from the file as it is now.
fn recovered(file: &File, copy: &File, geometry: Geometry) -> (u64, u64, Vec<u8>) {
    let mut bytes = vec![0; geometry.segment_size().expect("small") as usize];
    file.read_exact_at(&mut bytes, 0).expect("read");
    copy.write_all_at(&bytes, 0).expect("written");
    let segment = Segment::open(copy, geometry).expect("the header is whole");
    assert_eq!(segment.recover(), [], "no record is ever damaged");
    content(&segment)
}

fn a_kill_leaves_the_old_or_the_new(prepare: &[&[u8]], change: impl Fn(&mut Block), new: &[u8]) {
    let file = memory();
    let copy = memory();
    let segment = Segment::create(&file, SMALL, 0).expect("created");
    for bytes in prepare {
        block(&segment).write(bytes).expect("written");
    }
    let old = content(&segment);
    let new = (old.0 + 1, 1, new.to_vec());
    let mut seen_new = false;
    let steps = at_every_instruction(&segment, change, || {
        let found = recovered(&file, &copy, SMALL);
        assert!(found == new || (found == old && !seen_new), "neither the old nor the new: {found:?}");
        seen_new = found == new;
    });
    assert!(seen_new && steps > 50, "{steps} instructions, committed: {seen_new}");
}

#[test]
fn a_kill_between_any_two_stores_of_a_write_leaves_a_whole_message() {
    a_kill_leaves_the_old_or_the_new(&[], |block| assert!(block.write(b"first").is_ok()), b"first");
    let full = [b'a'; CAPACITY];
    let next = [b'b'; CAPACITY];
    // Two full messages more than the ring holds at once: this write wraps and lands where older ones were.
    a_kill_leaves_the_old_or_the_new(
        &[&full, b"short", &full],
        |block| assert!(block.write(&next).is_ok()),
        &next,
    );
}

#[test]
fn a_kill_between_any_two_stores_of_a_patch_leaves_a_whole_message() {
    let patched = b"hello\0\0\0world";
    a_kill_leaves_the_old_or_the_new(&[b"hello"], |block| assert!(block.patch(8, b"world").is_ok()), patched);
}
