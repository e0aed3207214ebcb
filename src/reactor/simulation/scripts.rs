//! What lives have found, each told again without chance.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::pipe::ClientEnd;
use super::request::{ClientRequest, Wait};
use super::world::World;
use crate::workers::ConnectionId;

const FOREVER: Wait = Wait::Forever;

fn world() -> World {
    World::new(0, Rc::new(RefCell::new(VecDeque::new())))
}

fn write(mailbox: u32) -> ClientRequest {
    ClientRequest::Write {
        mailbox,
        expected: None,
        offset: None,
        body: b"a message of some length".to_vec(),
        wait: FOREVER,
    }
}

fn read(mailbox: u32) -> ClientRequest {
    ClientRequest::Read { mailbox, after: None, part: None, wait: FOREVER }
}

fn take(mailbox: u32, wait: Wait) -> ClientRequest {
    ClientRequest::Take { mailbox, wait }
}

fn lock(mailbox: u32, seconds: u64) -> ClientRequest {
    ClientRequest::Lock {
        mailboxes: vec![mailbox],
        shared: false,
        wait: FOREVER,
        ttl: Some(Duration::from_secs(seconds)),
    }
}

fn watch(mailbox: u32) -> ClientRequest {
    ClientRequest::Watch { mailboxes: vec![mailbox], after: None }
}

impl World {
    fn waits_for(&self, client: usize) -> usize {
        self.oracle.models[client].outstanding.len()
    }

    fn count(&self, mailbox: u32) -> u64 {
        self.oracle.mailboxes[mailbox as usize].current().count
    }

    /// Lets somebody read nothing more: an event of `mailbox`, which they watch, stops in their socket half-way.
    fn stuff(&mut self, client: usize, other: usize, mailbox: u32) {
        self.say(other, [write(mailbox)]);
        let own = self.clients[client].id;
        self.settle_all_but(own);
        assert!(self.server.connections.look(own).is_some_and(|connection| connection.has_output()));
    }

    /// Somebody closes the sending half.
    fn hang_up(&mut self, client: usize) {
        let (end, _) = self.clients[client].close(ClientEnd::HalfClosed);
        self.oracle.client_closed(client, end);
    }

    /// Everything goes on but the jobs of one connection.
    fn settle_all_but(&mut self, id: ConnectionId) {
        for _ in 0..10 {
            self.turn_quietly();
            self.work_quietly(|job| job.connection != id);
        }
    }
}

/// The answer to `watch` waited with the rest of its batch for a worker, and an event came before it.
#[test]
fn no_event_comes_before_its_watch() {
    let mut world = world();
    let [watcher, writer] = [world.enter_with_room(1000), world.enter_with_room(1000)];
    world.say(watcher, [watch(0), write(1)]);
    world.turn_quietly();
    world.say(writer, [write(0)]);
    world.settle_all_but(world.clients[watcher].id);
    world.run_until_quiescent();
    assert_eq!(world.oracle.events, 1);
}

/// The news of a lost lock passed the answers of the batch that was under way, that of the `lock` itself too.
#[test]
fn a_lock_is_not_lost_before_it_is_given() {
    let mut world = world();
    let client = world.enter_with_room(1000);
    world.say(client, [lock(0, 1), write(1)]);
    world.turn_quietly();
    world.pass(Duration::from_secs(2));
    world.run_until_quiescent();
    let model = &world.oracle.models[client];
    assert!(model.outstanding.is_empty() && model.locks.is_empty() && model.lost_locks.contains_key(&0));
}

/// A job that came to wait while its client's socket was full kept the answers before until its wait was over.
#[test]
fn earlier_answers_do_not_wait_with_a_request() {
    let mut world = world();
    let [client, other] = [world.enter_with_room(30), world.enter_with_room(1000)];
    world.say(other, [lock(2, 100)]);
    world.say(client, [watch(0)]);
    world.run_until_quiescent();
    world.say(client, [read(1), take(2, FOREVER)]);
    world.turn_quietly();
    world.stuff(client, other, 0);
    world.run_until_quiescent();
    assert_eq!(world.waits_for(client), 2);
    world.read_all(client);
    assert_eq!(world.waits_for(client), 1, "the read is answered, the take waits");
}

/// A request that took a message in vain, for its client did not read, waited anew from the start.
#[test]
fn a_wait_does_not_begin_anew() {
    let mut world = world();
    let [client, holder, other] = [30, 1000, 1000].map(|room| world.enter_with_room(room));
    world.say(holder, [lock(2, 100), write(2)]);
    world.say(client, [watch(0)]);
    world.run_until_quiescent();
    world.say(client, [take(2, Wait::For(Duration::from_secs(1)))]);
    world.run_until_quiescent();
    world.pass(Duration::from_millis(500));
    world.say(holder, [ClientRequest::Unlock { mailboxes: None, grant: None }, lock(2, 100)]);
    world.turn_quietly();
    world.stuff(client, other, 0);
    world.run_until_quiescent();
    assert_eq!((world.count(2), world.waits_for(client)), (1, 1), "taken in vain");
    world.read_all(client);
    assert_eq!(world.waits_for(client), 1, "locked again");
    world.pass(Duration::from_millis(500));
    world.run_until_quiescent();
    assert_eq!(world.waits_for(client), 0, "a second is over");
}

/// A message was given up for a client that did not even read the answers before.
#[test]
fn a_message_is_not_for_a_client_that_does_not_read() {
    let mut world = world();
    let [client, other] = [world.enter_with_room(10), world.enter_with_room(1000)];
    world.say(other, [write(1), write(2)]);
    world.run_until_quiescent();
    world.say(client, [read(1), take(2, FOREVER)]);
    world.run_until_quiescent();
    assert_eq!(world.count(2), 0, "on its way");
    world.pass(Duration::from_secs(1));
    world.run_until_quiescent();
    assert_eq!(world.count(2), 1, "back");
    world.say(other, [take(2, FOREVER)]);
    world.run_until_quiescent();
    assert_eq!(world.waits_for(other), 0);
}

/// Over TCP a close cannot be told from a half-close: the request of a client that was gone waited a second more, and a
/// message that came in that second was written to nobody.
#[test]
fn a_message_is_not_for_a_client_that_hung_up_while_it_waited() {
    let mut world = world();
    let [taker, writer] = [world.enter_with_room(1000), world.enter_with_room(1000)];
    world.say(taker, [take(2, FOREVER)]);
    world.run_until_quiescent();
    world.hang_up(taker);
    world.say(writer, [write(2)]);
    world.run_until_quiescent();
    assert_eq!((world.count(2), world.waits_for(taker)), (1, 0));
}
