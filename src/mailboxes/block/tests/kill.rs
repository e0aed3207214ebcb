//! The contents that a kill leaves after each instruction of a change. No process is killed: ptrace stops the
//! process that makes the change after each instruction, and the file of its segment is checked.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::*;
use crate::protocol::Name;

/// A change has more instructions than this. If fewer are counted, the child was not traced.
const INSTRUCTIONS_MIN: usize = 50;

/// Executes `change` in a child process, instruction by instruction. Calls `check` after each one, while the
/// child is stopped: the shared memory has the contents that a kill at this moment would leave. Returns the
/// number of instructions.
fn at_every_instruction(segment: &Segment, change: impl Fn(&mut Block), mut check: impl FnMut()) -> usize {
    let mut target = block(segment);
    // SAFETY: the child only stores to mapped memory and makes system calls. It takes no lock and allocates
    // nothing, so the state of other threads at the fork does not matter.
    match unsafe { fork() }.expect("forked") {
        ForkResult::Child => {
            let traced = ptrace::traceme().and_then(|()| raise(Signal::SIGSTOP));
            if traced.is_ok() {
                change(&mut target);
            }
            // SAFETY: ends the child without running destructors or exit handlers of the parent.
            unsafe { nix::libc::_exit(0) }
        }
        ForkResult::Parent { child } => step_until_exit(child, &mut check),
    }
}

fn step_until_exit(child: Pid, check: &mut impl FnMut()) -> usize {
    let mut steps = 0;
    loop {
        match waitpid(child, None).expect("it is a child of this process") {
            WaitStatus::Stopped(..) => {
                check();
                steps += 1;
                ptrace::step(child, None).expect("stepped");
            }
            WaitStatus::Exited(_, 0) => return steps,
            other => panic!("the child ended with {other:?}"),
        }
    }
}

fn content(segment: &Segment) -> (Contents, List) {
    let block = block(segment);
    (block.contents().expect("not damaged"), list(&block).expect("not damaged"))
}

/// Copies the file of a segment as it is now to `copy`, and recovers the copy as the next server would
/// recover the file.
fn recovered(file: &File, copy: &File) -> Segment {
    let mut bytes = vec![0; SMALL.segment_size().expect("small") as usize];
    file.read_exact_at(&mut bytes, 0).expect("read");
    copy.write_all_at(&bytes, 0).expect("written");
    let segment = Segment::open(copy, SMALL).expect("the header is intact");
    assert_eq!(segment.recover(), [], "a kill never damages a record");
    segment
}

/// Calls `change` with the result of `prepare`, stops it after each instruction, and recovers a copy of the
/// file. Expects the old contents until some instruction, and the new ones from then on. The new contents are
/// `messages`.
fn assert_kill_leaves_old_or_new<P>(
    prepare: impl Fn(&mut Block) -> P,
    change: impl Fn(&mut Block, &P),
    messages: &[(u64, &[u8])],
) {
    let (file, copy) = (memory(), memory());
    let segment = Segment::create(&file, SMALL, 0).expect("created");
    let prepared = prepare(&mut block(&segment));
    let old = content(&segment);
    let new = {
        let undisturbed = recovered(&file, &copy);
        change(&mut block(&undisturbed), &prepared);
        content(&undisturbed)
    };
    assert_eq!(new.1, messages.iter().map(|(version, bytes)| (*version, bytes.to_vec())).collect::<List>());
    let mut seen_new = false;
    let steps = at_every_instruction(
        &segment,
        |block| change(block, &prepared),
        || {
            let found = content(&recovered(&file, &copy));
            assert!(found == new || (found == old && !seen_new), "neither old nor new: {found:?}");
            seen_new = found == new;
        },
    );
    assert!(seen_new && steps > INSTRUCTIONS_MIN, "{steps} instructions, committed: {seen_new}");
}

const FULL: [u8; CAPACITY] = [b'f'; CAPACITY];

#[test]
fn a_kill_during_a_write_leaves_the_old_message_or_the_new() {
    let write = |bytes: &'static [u8]| move |block: &mut Block, _: &()| assert!(block.write(bytes).is_ok());
    assert_kill_leaves_old_or_new(|_| (), write(b"first"), &[(1, b"first")]);
    let old = |block: &mut Block| {
        for bytes in [&FULL[..], b"short", &[b'a'; CAPACITY]] {
            block.write(bytes).expect("written");
        }
    };
    assert_kill_leaves_old_or_new(old, write(&FULL), &[(4, &FULL)]);
    assert_kill_leaves_old_or_new(spanning, write(&FULL), &[(7, &FULL)]);
    assert_kill_leaves_old_or_new(wrapped, write(&FULL), &[(6, &FULL)]);
}

#[test]
fn a_kill_during_a_patch_leaves_the_old_message_or_the_new() {
    let patch = |block: &mut Block, _: &()| assert!(block.patch(8, b"world").is_ok());
    let hello = |block: &mut Block| put_all(block, &[b"hello"]);
    assert_kill_leaves_old_or_new(hello, patch, &[(2, b"hello\0\0\0world")]);
    let last_of_three = |block: &mut Block| {
        wrapped(block);
        take_many(block, 2);
    };
    assert_kill_leaves_old_or_new(last_of_three, patch, &[(6, b"ccccccccworld")]);
}

#[test]
fn a_kill_during_a_put_leaves_the_list_with_or_without_the_message() {
    let put = |bytes: &'static [u8]| {
        move |block: &mut Block, _: &()| assert!(matches!(block.put(bytes), Ok(Some(_))))
    };
    assert_kill_leaves_old_or_new(|_| (), put(&FULL), &[(1, &FULL)]);
    let [a, b, c] = [[b'a'; 16], [b'b'; 16], [b'c'; 16]];
    assert_kill_leaves_old_or_new(spanning, put(b"new!"), &[(4, &a), (5, &b), (6, &c), (7, b"new!")]);
    let messages: [(u64, &[u8]); 4] = [(3, &[b'a'; 22]), (4, &b), (5, &c[..10]), (6, b"new!")];
    assert_kill_leaves_old_or_new(wrapped, put(b"new!"), &messages);
    let one = |block: &mut Block| put_all(block, &[&[b'a'; 40]]);
    assert_kill_leaves_old_or_new(one, put(&[b'w'; 20]), &[(1, &[b'a'; 40]), (2, &[b'w'; 20])]);
}

#[test]
fn a_kill_during_a_dropping_put_leaves_the_old_list_or_the_new() {
    let put =
        |bytes: &'static [u8]| move |block: &mut Block, _: &()| assert!(block.put_dropping(bytes).is_ok());
    let c = [b'c'; 16];
    assert_kill_leaves_old_or_new(spanning, put(&[b'n'; 40]), &[(6, &c), (7, &[b'n'; 40])]);
    assert_kill_leaves_old_or_new(wrapped, put(&[b'n'; 40]), &[(5, &c[..10]), (6, &[b'n'; 40])]);
    assert_kill_leaves_old_or_new(spanning, put(&FULL), &[(7, &FULL)]);
    assert_kill_leaves_old_or_new(wrapped, put(&FULL), &[(6, &FULL)]);
}

#[test]
fn a_kill_during_a_take_leaves_the_list_with_or_without_the_message() {
    let take = |block: &mut Block, _: &()| take_many(block, 1);
    assert_kill_leaves_old_or_new(|block| put_all(block, &[b"one"]), take, &[]);
    assert_kill_leaves_old_or_new(wrapped, take, &[(4, &[b'b'; 16]), (5, &[b'c'; 10])]);
}

#[test]
fn a_kill_during_a_requeue_leaves_the_list_with_or_without_the_message() {
    let taken = |block: &mut Block| {
        wrapped(block);
        take(block).expect("not damaged").expect("there are three")
    };
    let requeue = |block: &mut Block, taken: &Taken| assert!(block.requeue(*taken).is_ok());
    let messages: [(u64, &[u8]); 3] = [(3, &[b'a'; 22]), (4, &[b'b'; 16]), (5, &[b'c'; 10])];
    assert_kill_leaves_old_or_new(taken, requeue, &messages);
}

#[test]
fn a_kill_during_the_removal_of_a_later_message_leaves_the_list_with_or_without_it() {
    let remove = |versions: &'static [u64]| move |block: &mut Block, _: &()| remove_all(block, versions);
    let (a, b, c) = ([b'a'; 22], [b'b'; 16], [b'c'; 10]);
    assert_kill_leaves_old_or_new(wrapped, remove(&[4]), &[(3, &a), (5, &c)]);
    assert_kill_leaves_old_or_new(wrapped, remove(&[5]), &[(3, &a), (4, &b)]);
    let hole_in_the_middle = |block: &mut Block| {
        wrapped(block);
        remove_all(block, &[4]);
    };
    assert_kill_leaves_old_or_new(hole_in_the_middle, remove(&[3]), &[(5, &c)]);
    assert_kill_leaves_old_or_new(hole_in_the_middle, remove(&[5]), &[(3, &a)]);
}

#[test]
fn a_kill_during_the_undo_of_the_removal_of_a_later_message_leaves_the_list_with_or_without_it() {
    let removed = |version: u64| {
        move |block: &mut Block| {
            wrapped(block);
            let location = location(block, version);
            block.remove(location).expect("not damaged")
        }
    };
    let requeue = |block: &mut Block, taken: &Taken| assert!(block.requeue(*taken).is_ok());
    let messages: [(u64, &[u8]); 3] = [(3, &[b'a'; 22]), (4, &[b'b'; 16]), (5, &[b'c'; 10])];
    assert_kill_leaves_old_or_new(removed(4), requeue, &messages);
    assert_kill_leaves_old_or_new(removed(5), requeue, &messages);
}

#[test]
fn a_kill_during_a_change_of_a_list_with_holes_leaves_the_old_list_or_the_new() {
    let holes = |block: &mut Block| {
        wrapped(block);
        remove_all(block, &[4, 5]);
    };
    let a = [b'a'; 22];
    let put = |block: &mut Block, _: &()| assert!(matches!(block.put(b"new!"), Ok(Some(_))));
    assert_kill_leaves_old_or_new(holes, put, &[(3, &a), (6, b"new!")]);
    let write = |block: &mut Block, _: &()| assert!(block.write(b"new!").is_ok());
    assert_kill_leaves_old_or_new(holes, write, &[(6, b"new!")]);
    let patch = |block: &mut Block, _: &()| assert!(block.patch(0, b"new!").is_ok());
    let mut patched = a;
    patched[..4].copy_from_slice(b"new!");
    assert_kill_leaves_old_or_new(holes, patch, &[(6, &patched)]);
    let put_dropping = |block: &mut Block, _: &()| assert!(block.put_dropping(&FULL).is_ok());
    assert_kill_leaves_old_or_new(holes, put_dropping, &[(6, &FULL)]);
    let take = |block: &mut Block, _: &()| take_many(block, 1);
    assert_kill_leaves_old_or_new(holes, take, &[]);
}

#[test]
fn a_kill_during_the_change_of_a_name_leaves_the_old_name_or_the_new() {
    let name = |word| Name::new(word).expect("valid");
    let (file, copy) = (memory(), memory());
    let segment = Segment::create(&file, SMALL, 0).expect("created");
    // A name has two places. The new name is written over this one, which is longer.
    segment.set_name(1, Some(&name("a-long-name-of-a-mailbox")));
    let [old, new] = [name("old"), name("new-name")];
    segment.set_name(1, Some(&old));
    let mut seen_new = false;
    let change = |_: &mut Block| segment.set_name(1, Some(&new));
    at_every_instruction(&segment, change, || {
        let found: Vec<_> = recovered(&file, &copy).names().collect();
        let is_new = found == [(1, new.clone())];
        assert!(is_new || (found == [(1, old.clone())] && !seen_new), "neither old nor new: {found:?}");
        seen_new = is_new;
    });
    assert!(seen_new);
}
