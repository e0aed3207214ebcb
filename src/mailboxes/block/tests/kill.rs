//! Killed after every single instruction of a change.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::*;

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

type Found = (Contents, List);

fn content(segment: &Segment) -> Found {
    let block = block(segment);
    (block.contents().expect("whole"), list(&block).expect("whole"))
}

/// What a server would find that starts from the file as it is now.
fn recovered(file: &File, copy: &File) -> Segment {
    let mut bytes = vec![0; SMALL.segment_size().expect("small") as usize];
    file.read_exact_at(&mut bytes, 0).expect("read");
    copy.write_all_at(&bytes, 0).expect("written");
    let segment = Segment::open(copy, SMALL).expect("the header is whole");
    assert_eq!(segment.recover(), [], "no record is ever damaged");
    segment
}

/// Kills `change` everywhere, after `prepare`, whose result it gets. The new content holds these messages.
fn a_kill_leaves_the_old_or_the_new<P>(
    prepare: impl Fn(&mut Block) -> P,
    change: impl Fn(&mut Block, &P),
    messages: &[(u64, &[u8])],
) {
    let (file, copy) = (memory(), memory());
    let segment = Segment::create(&file, SMALL, 0).expect("created");
    let prepared = prepare(&mut block(&segment));
    let old = content(&segment);
    let new = {
        let unharmed = recovered(&file, &copy);
        change(&mut block(&unharmed), &prepared);
        content(&unharmed)
    };
    assert_eq!(new.1, messages.iter().map(|(version, bytes)| (*version, bytes.to_vec())).collect::<List>());
    let mut seen_new = false;
    let steps = at_every_instruction(
        &segment,
        |block| change(block, &prepared),
        || {
            let found = content(&recovered(&file, &copy));
            assert!(found == new || (found == old && !seen_new), "neither the old nor the new: {found:?}");
            seen_new = found == new;
        },
    );
    assert!(seen_new && steps > 50, "{steps} instructions, committed: {seen_new}");
}

const FULL: [u8; CAPACITY] = [b'f'; CAPACITY];

#[test]
fn a_kill_between_any_two_stores_of_a_write_leaves_a_whole_message() {
    let write = |bytes: &'static [u8]| move |block: &mut Block, _: &()| assert!(block.write(bytes).is_ok());
    a_kill_leaves_the_old_or_the_new(|_| (), write(b"first"), &[(1, b"first")]);
    let old = |block: &mut Block| {
        for bytes in [&FULL[..], b"short", &[b'a'; CAPACITY]] {
            block.write(bytes).expect("written");
        }
    };
    a_kill_leaves_the_old_or_the_new(old, write(&FULL), &[(4, &FULL)]);
    a_kill_leaves_the_old_or_the_new(astride, write(&FULL), &[(7, &FULL)]);
    a_kill_leaves_the_old_or_the_new(wrapped, write(&FULL), &[(6, &FULL)]);
}

#[test]
fn a_kill_between_any_two_stores_of_a_patch_leaves_a_whole_message() {
    let patch = |block: &mut Block, _: &()| assert!(block.patch(8, b"world").is_ok());
    let hello = |block: &mut Block| put_all(block, &[b"hello"]);
    a_kill_leaves_the_old_or_the_new(hello, patch, &[(2, b"hello\0\0\0world")]);
    let last_of_three = |block: &mut Block| {
        wrapped(block);
        take_many(block, 2);
    };
    a_kill_leaves_the_old_or_the_new(last_of_three, patch, &[(6, b"ccccccccworld")]);
}

#[test]
fn a_kill_between_any_two_stores_of_a_put_leaves_the_list_with_or_without_it() {
    let put = |bytes: &'static [u8]| {
        move |block: &mut Block, _: &()| assert!(matches!(block.put(bytes), Ok(Some(_))))
    };
    a_kill_leaves_the_old_or_the_new(|_| (), put(&FULL), &[(1, &FULL)]);
    let [a, b, c] = [[b'a'; 16], [b'b'; 16], [b'c'; 16]];
    a_kill_leaves_the_old_or_the_new(astride, put(b"new!"), &[(4, &a), (5, &b), (6, &c), (7, b"new!")]);
    let messages: [(u64, &[u8]); 4] = [(3, &[b'a'; 22]), (4, &b), (5, &c[..10]), (6, b"new!")];
    a_kill_leaves_the_old_or_the_new(wrapped, put(b"new!"), &messages);
    let one = |block: &mut Block| put_all(block, &[&[b'a'; 40]]);
    a_kill_leaves_the_old_or_the_new(one, put(&[b'w'; 20]), &[(1, &[b'a'; 40]), (2, &[b'w'; 20])]);
}

#[test]
fn a_kill_between_any_two_stores_of_a_put_that_drops_leaves_the_old_list_or_the_new() {
    let put =
        |bytes: &'static [u8]| move |block: &mut Block, _: &()| assert!(block.put_dropping(bytes).is_ok());
    let c = [b'c'; 16];
    a_kill_leaves_the_old_or_the_new(astride, put(&[b'n'; 40]), &[(6, &c), (7, &[b'n'; 40])]);
    a_kill_leaves_the_old_or_the_new(wrapped, put(&[b'n'; 40]), &[(5, &c[..10]), (6, &[b'n'; 40])]);
    a_kill_leaves_the_old_or_the_new(astride, put(&FULL), &[(7, &FULL)]);
    a_kill_leaves_the_old_or_the_new(wrapped, put(&FULL), &[(6, &FULL)]);
}

#[test]
fn a_kill_between_any_two_stores_of_a_take_leaves_the_list_with_or_without_it() {
    let take = |block: &mut Block, _: &()| take_many(block, 1);
    a_kill_leaves_the_old_or_the_new(|block| put_all(block, &[b"one"]), take, &[]);
    a_kill_leaves_the_old_or_the_new(wrapped, take, &[(4, &[b'b'; 16]), (5, &[b'c'; 10])]);
}

#[test]
fn a_kill_between_any_two_stores_of_an_untake_leaves_the_list_with_or_without_it() {
    let taken = |block: &mut Block| {
        wrapped(block);
        let taken = block.take(|_| {}).expect("whole").expect("there are three");
        take_many(block, 2);
        taken
    };
    let untake = |block: &mut Block, taken: &Taken| assert!(block.requeue(*taken).is_ok());
    let messages: [(u64, &[u8]); 3] = [(3, &[b'a'; 22]), (4, &[b'b'; 16]), (5, &[b'c'; 10])];
    a_kill_leaves_the_old_or_the_new(taken, untake, &messages);
}
