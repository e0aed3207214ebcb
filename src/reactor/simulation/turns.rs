//! The order in which clients have their turns in a tick.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::request::{ClientRequest, Wait};
use super::world::World;
use crate::reactor::connection::BODY_PROGRESS;
use crate::reactor::phase::Phase;

fn world() -> World {
    World::new(0, Rc::new(RefCell::new(VecDeque::new())))
}

fn put() -> ClientRequest {
    ClientRequest::Put { mailbox: 0, drop_oldest: false, body: b"a message".to_vec(), wait: Wait::Forever }
}

/// A client with a single request waited for the turns of all clients that had sent more than their share of
/// a tick, in every tick.
#[test]
fn a_client_with_a_request_precedes_those_that_go_on() {
    let mut world = world();
    let [busy, other] = [world.connect_with_capacity(100_000), world.connect_with_capacity(1000)];
    let ping = || ClientRequest::Info { line: "ping".into(), word: "OK" };
    // More than a batch.
    world.send_requests(busy, (0..1000).map(|_| ping()));
    world.send_requests(other, [put()]);
    let [(busy_id, first), (other_id, second)] =
        [busy, other].map(|client| world.take_readiness(client).expect("an event"));
    world.begin_tick();
    world.on_event(busy_id, first);
    world.server.budgets.receiving.charge(usize::MAX);
    world.on_event(other_id, second);
    assert_eq!((world.server.clients.postponed(), world.server.clients.continuing()), (1, 1));

    world.begin_tick();
    world.server.run_postponed();
    let is_served =
        world.server.clients.look(other_id).is_some_and(|client| matches!(client.phase(), Phase::Working));
    assert!(is_served);
    // An event does not give a client that goes on a second turn.
    world.send_requests(busy, [ping()]);
    let (_, event) = world.take_readiness(busy).expect("an event");
    let replies = world.oracle.replies;
    world.on_event(busy_id, event);
    assert_eq!(world.oracle.replies, replies);
    assert_eq!(world.server.clients.continuing(), 1);
    world.run_until_quiescent();
}

/// The time of a client ended while its next bytes were there, but not yet its turn.
#[test]
fn a_client_is_not_closed_for_its_silence_before_its_turn() {
    let mut world = world();
    let client = world.connect_with_capacity(1000);
    let id = world.clients[client].id;
    let send = |world: &World, bytes: &[u8]| world.clients[client].pipe.borrow_mut().send(bytes);
    send(&world, b"put 0 100\nsome");
    world.run_quiet_tick();
    send(&world, b"more");
    world.advance_time(BODY_PROGRESS);
    world.begin_tick();
    world.server.budgets.receiving.charge(usize::MAX);
    let (_, event) = world.take_readiness(client).expect("an event");
    world.on_event(id, event);
    world.server.expire_deadlines();
    assert!(world.server.clients.look(id).is_some(), "its bytes have arrived in time");
    world.begin_tick();
    world.server.run_postponed();
    world.advance_time(BODY_PROGRESS);
    world.begin_tick();
    world.server.expire_deadlines();
    assert!(world.server.clients.look(id).is_none(), "nothing has arrived since");
}
