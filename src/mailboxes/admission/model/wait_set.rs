//! Requests that join the wait set, and the changes that meet their conditions.

use super::*;

/// A take and a put in any order.
#[test]
fn model_a_put_reaches_the_taker() {
    explore(|shared| {
        let thread = spawn(shared, |shared| shared.submit(Request::Take(0)));
        shared.submit(Request::Put);
        join(thread);
        assert_eq!(shared.executions(Request::Take(0)), 1, "a taker waits although there is a message");
        shared.assert_idle();
    });
}

/// A take and a put in any order. The put is admitted and released in one critical section, if it is admitted
/// at once.
#[test]
fn model_an_inline_put_reaches_the_taker() {
    explore(|shared| {
        let thread = spawn(shared, |shared| shared.try_inline(Request::Take(0)));
        shared.try_inline(Request::Put);
        join(thread);
        assert_eq!(shared.executions(Request::Take(0)), 1, "a taker waits although there is a message");
        shared.assert_idle();
    });
}

/// Two requests wait. A put meets their condition while a timeout and a disconnect cancel the first one. The
/// first request is either executed or cancelled, once. The second request is executed if there is a message
/// for it.
fn exactly_one_of_three_wins(request: fn(u32) -> Request) {
    let outcomes = explore(move |shared| {
        let first = shared.submit(request(0)).expect("the mailbox is empty");
        shared.submit(request(1)).expect("the mailbox is empty");
        let timeout = spawn(shared, move |shared| shared.cancel(first));
        let disconnect = spawn(shared, move |shared| shared.cancel(first));
        shared.submit(Request::Put);
        let cancelled = [join(timeout), join(disconnect)];
        let [first, second] = [shared.executions(request(0)), shared.executions(request(1))];
        let outcome = [first, cancelled[0].into(), cancelled[1].into()];
        assert_eq!(outcome.iter().sum::<usize>(), 1, "cancelled, or executed");
        let one_message_for_both = request(0).mode() == Mode::Exclusive;
        assert_eq!(second, if one_message_for_both { 1 - first } else { 1 }, "the second request");
        shared.assert_idle();
        outcome
    });
    assert_eq!(outcomes.len(), 3, "each of the three wins in some interleaving");
}

#[test]
fn model_put_timeout_or_disconnect_wins_a_taker() {
    exactly_one_of_three_wins(Request::Take);
}

#[test]
fn model_put_timeout_or_disconnect_wins_a_reader() {
    exactly_one_of_three_wins(Request::ReadNew);
}

/// A watcher begins to wait while a message is put: either the watcher sees the message at once, or its read
/// is admitted.
#[test]
fn model_a_put_reaches_the_watchers() {
    let outcomes = explore(|shared| {
        shared.mailbox.add_watcher();
        let thread = spawn(shared, |shared| shared.mailbox.await_message(0, || shared.contents()));
        shared.submit(Request::Put);
        let waits = join(thread);
        assert_eq!(
            shared.executions(Request::Watch),
            usize::from(waits),
            "the message reaches the watchers once"
        );
        shared.assert_idle();
        waits
    });
    assert_eq!(outcomes.len(), 2, "both happen in some interleaving");
}
