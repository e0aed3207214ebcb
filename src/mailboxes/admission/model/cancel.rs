//! A grant, a timeout and a disconnect race, each in a thread of its own. Exactly one of the three wins.

use super::*;

const NEXT: Request = Request::Access(Mode::Shared);

/// A waiter is either granted or cancelled, once. In every case the next waiter is admitted.
fn exactly_one_of_three_wins(waiter: Request) {
    let outcomes = explore(move |shared| {
        let writer = shared.hold(Mode::Exclusive);
        let ticket = shared.queue(waiter);
        shared.queue(NEXT);
        let timeout = spawn(shared, move |shared| shared.cancel(ticket));
        let disconnect = spawn(shared, move |shared| shared.cancel(ticket));
        shared.run(writer, Request::Put);
        let cancelled = [join(timeout), join(disconnect)];
        // The grant of a lock is kept even if its client has disconnected. The test then releases the grant,
        // as the reactor does.
        let lock = shared.locks.lock().expect("not poisoned").pop();
        let granted = shared.executions(waiter) + usize::from(lock.is_some());
        let outcome = [granted, cancelled[0].into(), cancelled[1].into()];
        assert_eq!(outcome.iter().sum::<usize>(), 1, "cancelled, or granted");
        if let Some(grant) = lock {
            assert_eq!(shared.executions(NEXT), 0, "the lock excludes other requests");
            shared.run(grant, Request::Access(Mode::Exclusive));
        }
        shared.assert_idle();
        assert_eq!(shared.executions(NEXT), 1, "the next waiter is admitted");
        outcome
    });
    assert_eq!(outcomes.len(), 3, "each of the three wins in some interleaving");
}

#[test]
fn model_grant_timeout_or_disconnect_wins() {
    exactly_one_of_three_wins(Request::Take(0));
    exactly_one_of_three_wins(Request::ReadNew(0));
}

#[test]
fn model_a_lock_granted_to_a_disconnected_client_is_released() {
    exactly_one_of_three_wins(Request::Lock);
}
