//! Those who come, those who leave, and those behind them.

use super::*;

const READER: Ask = Ask::Enter(Mode::Shared);
const WRITER: Ask = Ask::Enter(Mode::Exclusive);

/// Three arrivals, each granted or queued: all run, and nobody is left behind.
fn everybody_runs() {
    explore(|shared| {
        let thread = beside(shared, |shared| {
            shared.ask(READER);
            shared.ask(WRITER);
        });
        shared.ask(WRITER);
        joined(thread);
        shared.nobody_is_left();
        assert_eq!((shared.served(READER), shared.served(WRITER)), (1, 2));
    });
}

/// The same when some of them need so little time that they come and go in one step.
fn brief_ones_run() {
    explore(|shared| {
        let thread = beside(shared, |shared| {
            shared.try_inline(READER);
            shared.try_inline(WRITER);
        });
        shared.ask(WRITER);
        shared.try_inline(READER);
        joined(thread);
        shared.nobody_is_left();
        assert_eq!((shared.served(READER), shared.served(WRITER)), (2, 2));
    });
}

/// A reader stays in, a writer behind it gives up while another reader arrives: that one gets in.
fn a_waiter_gives_up() {
    explore(|shared| {
        let reader = shared.stay(Mode::Shared);
        let writer = shared.wait(WRITER);
        let thread = beside(shared, move |shared| assert!(shared.give_up(writer)));
        shared.ask(READER);
        joined(thread);
        assert_eq!(shared.mailbox.waiting(), 0, "a reader waits for a reader");
        shared.run(reader, READER);
        shared.nobody_is_left();
        assert_eq!((shared.served(READER), shared.served(WRITER)), (2, 0));
    });
}

#[test]
fn model_everybody_runs() {
    everybody_runs();
}

#[test]
fn model_brief_ones_run() {
    brief_ones_run();
}

#[test]
fn model_a_waiter_gives_up() {
    a_waiter_gives_up();
}
