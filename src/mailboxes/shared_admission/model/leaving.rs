//! A grant against a deadline against a client that is gone: each of three threads brings one, and one of them wins.

use super::*;

const NEXT: Ask = Ask::Enter(Mode::Shared);

/// Whoever waits is answered once; and whatever becomes of it, the next one gets in.
fn one_of_three_wins(waiter: Ask) {
    let outcomes = explore(move |shared| {
        let writer = shared.stay(Mode::Exclusive);
        let ticket = shared.wait(waiter);
        shared.wait(NEXT);
        let timeout = beside(shared, move |shared| shared.give_up(ticket));
        let disconnect = beside(shared, move |shared| shared.give_up(ticket));
        shared.run(writer, Ask::Put);
        let given_up = [joined(timeout), joined(disconnect)];
        // The grant of a client that is gone comes home, and is released there.
        let home = shared.home.lock().expect("whole").pop();
        let granted = shared.served(waiter) + usize::from(home.is_some());
        let outcome = [granted, given_up[0].into(), given_up[1].into()];
        assert_eq!(outcome.iter().sum::<usize>(), 1, "given up, or granted");
        if let Some(grant) = home {
            assert_eq!(shared.served(NEXT), 0, "somebody is in");
            shared.run(grant, Ask::Enter(Mode::Exclusive));
        }
        shared.nobody_is_left();
        assert_eq!(shared.served(NEXT), 1, "the next one gets in");
        outcome
    });
    assert_eq!(outcomes.len(), 3, "each of them wins some time");
}

#[test]
fn model_one_of_grant_timeout_and_disconnect_wins() {
    one_of_three_wins(Ask::Take(0));
    one_of_three_wins(Ask::News(0));
}

#[test]
fn model_the_grant_of_a_client_that_is_gone_lets_the_next_in() {
    one_of_three_wins(Ask::Lock);
}
