//! Arrivals, releases and cancellations, and the waiters behind them.

use super::*;

const READER: Request = Request::Access(Mode::Shared);
const WRITER: Request = Request::Access(Mode::Exclusive);

/// Three arrivals, each granted or queued.
#[test]
fn model_every_request_runs() {
    explore(|shared| {
        let thread = spawn(shared, |shared| {
            shared.submit(READER);
            shared.submit(WRITER);
        });
        shared.submit(WRITER);
        join(thread);
        shared.assert_idle();
        assert_eq!((shared.executions(READER), shared.executions(WRITER)), (1, 2));
    });
}

/// Four arrivals. Some of them are admitted and released in one critical section.
#[test]
fn model_every_inline_request_runs() {
    explore(|shared| {
        let thread = spawn(shared, |shared| {
            shared.try_inline(READER);
            shared.try_inline(WRITER);
        });
        shared.submit(WRITER);
        shared.try_inline(READER);
        join(thread);
        shared.assert_idle();
        assert_eq!((shared.executions(READER), shared.executions(WRITER)), (2, 2));
    });
}

/// A reader holds the mailbox. A writer behind it is cancelled while another reader arrives.
#[test]
fn model_a_cancelled_writer_admits_the_reader_behind_it() {
    explore(|shared| {
        let reader = shared.hold(Mode::Shared);
        let writer = shared.queue(WRITER);
        let thread = spawn(shared, move |shared| assert!(shared.cancel(writer)));
        shared.submit(READER);
        join(thread);
        assert_eq!(shared.mailbox.waiting(), 0, "a reader waits for a reader");
        shared.run(reader, READER);
        shared.assert_idle();
        assert_eq!((shared.executions(READER), shared.executions(WRITER)), (2, 0));
    });
}
