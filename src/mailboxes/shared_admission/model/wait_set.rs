//! Those who were in, missed something, and come back when it is there.

use super::*;

/// A taker and a putter in any order: the message is taken.
fn a_put_reaches_the_taker() {
    explore(|shared| {
        let thread = beside(shared, |shared| shared.ask(Ask::Take(0)));
        shared.ask(Ask::Put);
        joined(thread);
        assert_eq!(shared.served(Ask::Take(0)), 1, "a taker waits beside a message");
        shared.nobody_is_left();
    });
}

/// The same when the put comes and goes in one step, and the taker would.
fn a_brief_put_reaches_the_taker() {
    explore(|shared| {
        let thread = beside(shared, |shared| shared.try_inline(Ask::Take(0)));
        shared.try_inline(Ask::Put);
        joined(thread);
        assert_eq!(shared.served(Ask::Take(0)), 1, "a taker waits beside a message");
        shared.nobody_is_left();
    });
}

/// A put brings news while one who waits for it gives up, at a deadline and because its client is gone, and another one
/// stands behind: everybody who stays is served, nobody is twice.
fn one_of_three_wins(ask: fn(u32) -> Ask) {
    let outcomes = explore(move |shared| {
        let first = shared.ask(ask(0)).expect("nothing is there");
        shared.ask(ask(1)).expect("nothing is there");
        let timeout = beside(shared, move |shared| shared.give_up(first));
        let disconnect = beside(shared, move |shared| shared.give_up(first));
        shared.ask(Ask::Put);
        let given_up = [joined(timeout), joined(disconnect)];
        let [first, second] = [shared.served(ask(0)), shared.served(ask(1))];
        let outcome = [first, given_up[0].into(), given_up[1].into()];
        assert_eq!(outcome.iter().sum::<usize>(), 1, "given up, or served");
        let one_message_for_both = ask(0).mode() == Mode::Exclusive;
        assert_eq!(second, if one_message_for_both { 1 - first } else { 1 }, "the second one");
        shared.nobody_is_left();
        outcome
    });
    assert_eq!(outcomes.len(), 3, "each of them wins some time");
}

#[test]
fn model_a_put_reaches_the_taker() {
    a_put_reaches_the_taker();
}

#[test]
fn model_a_brief_put_reaches_the_taker() {
    a_brief_put_reaches_the_taker();
}

#[test]
fn model_one_of_put_timeout_and_disconnect_wins_a_taker() {
    one_of_three_wins(Ask::Take);
}

#[test]
fn model_one_of_put_timeout_and_disconnect_wins_a_reader() {
    one_of_three_wins(Ask::News);
}
